#include "data/source_mix.hpp"

#include <algorithm>
#include <cmath>
#include <numeric>

#include "base/error.hpp"

namespace espalier::data {
namespace {

/// Shares of a block by largest remainders: they sum to it, and none is off by a whole sample.
std::vector<std::uint64_t> shares_of(std::span<const double> weights, std::uint64_t block) {
  const double total = std::accumulate(weights.begin(), weights.end(), 0.0);
  std::vector<std::uint64_t> shares;
  std::vector<double> remainders;
  std::uint64_t given = 0;
  for (const double weight : weights) {
    const double exact = weight / total * static_cast<double>(block);
    shares.push_back(static_cast<std::uint64_t>(exact));
    remainders.push_back(exact - std::floor(exact));
    given += shares.back();
  }
  std::vector<std::size_t> order(weights.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  std::stable_sort(order.begin(), order.end(),
                   [&](std::size_t a, std::size_t b) { return remainders[a] > remainders[b]; });
  for (std::size_t i = 0; given < block; ++i, ++given) ++shares[order[i % order.size()]];
  return shares;
}

}  // namespace

SourceMix::SourceMix(std::span<const double> weights) : slots_of_(weights.size()) {
  ESPALIER_ASSERT(!weights.empty());
  std::vector<std::uint64_t> shares = shares_of(weights, weights.size() == 1 ? 1 : kBlock);
  // Equal shares of a common divisor repeat within the block: the shorter block is the same order.
  std::uint64_t divisor = 0;
  for (std::size_t i = 0; i < shares.size(); ++i) {
    if (shares[i] == 0)
      throw Error(ExitStatus::bad_configuration,
                  fmt::format("data.sources: weight {} is less than 1/{} of all weights; raise it, "
                              "or leave the source out",
                              weights[i], 2 * kBlock),
                  Met::by_every_rank);
    divisor = std::gcd(divisor, shares[i]);
  }
  // The j-th of a source's n samples belongs at (j + 1/2) / n of the block.
  struct Wish {
    double time;
    std::uint32_t source;
  };
  std::vector<Wish> wishes;
  for (std::uint32_t source = 0; source < shares.size(); ++source)
    for (std::uint64_t j = 0; j < shares[source] / divisor; ++j)
      wishes.push_back({(static_cast<double>(j) + 0.5) * static_cast<double>(divisor) /
                            static_cast<double>(shares[source]),
                        source});
  std::stable_sort(wishes.begin(), wishes.end(),
                   [](const Wish& a, const Wish& b) { return a.time < b.time; });
  for (const Wish& wish : wishes) {
    auto& of_source = slots_of_[wish.source];
    slots_.push_back({wish.source, static_cast<std::uint32_t>(of_source.size())});
    of_source.push_back(static_cast<std::uint32_t>(slots_.size() - 1));
  }
}

SourceMix::Place SourceMix::place(std::uint64_t global_index) const {
  const Slot& slot = slots_[global_index % slots_.size()];
  return {slot.source, global_index / slots_.size() * slots_of_[slot.source].size() + slot.ordinal};
}

std::uint64_t SourceMix::count(std::size_t source, std::uint64_t num_samples) const {
  const auto& own = slots_of_[source];
  const auto in_block = std::lower_bound(own.begin(), own.end(), num_samples % slots_.size());
  return num_samples / slots_.size() * own.size() +
         static_cast<std::uint64_t>(in_block - own.begin());
}

std::uint64_t SourceMix::global_index(std::size_t source, std::uint64_t index) const {
  const auto& own = slots_of_[source];
  return index / own.size() * slots_.size() + own[index % own.size()];
}

double SourceMix::share(std::size_t source) const {
  return static_cast<double>(slots_of_[source].size()) / static_cast<double>(slots_.size());
}

Sources::Sources(std::vector<Source> sources, SourceMix mix)
    : sources_(std::move(sources)), mix_(std::move(mix)) {}

Sources::Sample Sources::sample(std::uint64_t global_index) const {
  const SourceMix::Place place = mix_.place(global_index);
  const Source& source = sources_[place.source];
  return {source.stream, source.order.sample(place.index)};
}

std::uint64_t Sources::samples_without_repeat() const {
  std::uint64_t first = ~std::uint64_t{0};
  for (std::size_t i = 0; i < sources_.size(); ++i)
    first = std::min(first, mix_.global_index(i, sources_[i].num_samples));
  return first;
}

double Sources::epochs(std::size_t i, std::uint64_t num_samples) const {
  return static_cast<double>(count(i, num_samples)) / static_cast<double>(sources_[i].num_samples);
}

}  // namespace espalier::data
