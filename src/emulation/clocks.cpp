#include "emulation/clocks.hpp"

#include <algorithm>

namespace espalier::emulation {
namespace {

constexpr int kWarpgroup = 128;

void take_later(Clocks::Times& mine, const Clocks::Times& others) {
  for (std::size_t i = 0; i < mine.size(); ++i) mine[i] = std::max(mine[i], others[i]);
}

}  // namespace

void Clocks::begin_block(int num_threads) {
  num_threads_ = num_threads;
  constexpr int kAgents = kMaxGroups + kMaxBarriers + kMaxGroups * kWarpsOfGroup;
  const auto num_all = static_cast<std::size_t>(num_threads + kAgents);
  rows_.assign(num_all, Times(num_all, 0));
  for (std::size_t i = 0; i < num_all; ++i) rows_[i][i] = 1;
  fenced_.assign(static_cast<std::size_t>(num_threads), 0);
}

void Clocks::publish(int who, Times& all) {
  take_later(all, row(who));
  advance(who);
}

void Clocks::learn(int who, const Times& times) {
  take_later(rows_[index(who)], times);
}

void Clocks::learn(int who, int other, std::uint32_t time) {
  std::uint32_t& known = rows_[index(who)][column(other)];
  known = std::max(known, time);
}

void Clocks::meet(const std::vector<int>& threads) {
  Times all(rows_.front().size(), 0);
  for (const int thread : threads) take_later(all, row(thread));
  for (const int thread : threads) {
    rows_[index(thread)] = all;
    advance(thread);
  }
}

void Clocks::begin_products(int group_index) {
  const int agent = group(group_index);
  const std::uint32_t now = time_of(agent);
  Times least = row(group_index * kWarpgroup);
  for (int i = 1; i < kWarpgroup; ++i) {
    const Times& known = row(group_index * kWarpgroup + i);
    for (std::size_t k = 0; k < least.size(); ++k) least[k] = std::min(least[k], known[k]);
  }
  least[column(agent)] = now;
  rows_[index(agent)] = std::move(least);
}

void Clocks::fence(int thread) {
  fenced_[static_cast<std::size_t>(thread)] = time_of(thread);
  advance(thread);
}

}  // namespace espalier::emulation
