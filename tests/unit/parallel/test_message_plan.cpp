#include "parallel/comm/message_plan.hpp"

#include <catch2/catch.hpp>
#include <vector>

#include "base/error.hpp"

using espalier::Error;
using espalier::parallel::MessagePlan;
using espalier::parallel::Stretch;

namespace {

constexpr std::int64_t kLimit = 1024;

/// The stretches of a rank's stream, with neighbours joined: what was appended, in order.
std::vector<std::pair<std::byte*, std::int64_t>> joined(const MessagePlan& plan, int rank) {
  std::vector<std::pair<std::byte*, std::int64_t>> stretches;
  for (const auto& message : plan.messages(rank))
    for (const Stretch& stretch : plan.stretches(rank, message)) {
      if (!stretches.empty() && stretches.back().first + stretches.back().second == stretch.data)
        stretches.back().second += stretch.bytes;
      else
        stretches.emplace_back(stretch.data, stretch.bytes);
    }
  return stretches;
}

}  // namespace

TEST_CASE("a plan covers what was appended, in messages within the limit") {
  std::vector<std::byte> memory(100000);
  MessagePlan plan(2, kLimit);
  std::vector<std::pair<std::byte*, std::int64_t>> expected;
  std::int64_t begin = 0;
  for (std::int64_t bytes : {4, 0, 40, 2048, 2052, 8, 8, 124, 128, 1000, 24, 60000}) {
    plan.append(1, memory.data() + begin, bytes);
    if (bytes > 0) expected.emplace_back(memory.data() + begin, bytes);
    begin += bytes + 4;  // a gap, so that stretches stay apart
  }
  REQUIRE(plan.messages(0).empty());
  REQUIRE(joined(plan, 1) == expected);
  for (const auto& message : plan.messages(1)) {
    std::int64_t bytes = 0;
    for (const Stretch& stretch : plan.stretches(1, message)) bytes += stretch.bytes;
    REQUIRE(bytes == message.bytes);
    REQUIRE(bytes > 0);
    REQUIRE(bytes <= kLimit);
    // Long stretches are never packed.
    if (message.num_stretches > 1)
      for (const Stretch& stretch : plan.stretches(1, message)) REQUIRE(stretch.bytes < kLimit / 8);
  }
  REQUIRE(plan.num_rounds() == plan.messages(1).size());
}

TEST_CASE("short stretches share a message") {
  std::vector<std::byte> memory(8192);
  MessagePlan plan(1, kLimit);
  for (int i = 0; i < 64; ++i) plan.append(0, memory.data() + i * 128, 16);
  REQUIRE(plan.messages(0).size() == 1);
  REQUIRE(plan.messages(0)[0].num_stretches == 64);
  plan.append(0, memory.data(), 16);
  REQUIRE(plan.messages(0).size() == 2);
}

TEST_CASE("a cleared plan is empty") {
  std::vector<std::byte> memory(64);
  MessagePlan plan(3, kLimit);
  plan.append(2, memory.data(), 64);
  REQUIRE(plan.num_rounds() == 1);
  plan.clear();
  REQUIRE(plan.num_rounds() == 0);
}

TEST_CASE("a limit that could cut an element in two is refused") {
  REQUIRE_THROWS_AS(MessagePlan(2, 0), Error);
  REQUIRE_THROWS_AS(MessagePlan(2, 1023), Error);
}
