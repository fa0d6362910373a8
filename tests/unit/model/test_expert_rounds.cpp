// Rows of a dispatch find their experts and come back, whatever the counts and the memory for them.
#include <catch2/catch.hpp>

#include <algorithm>
#include <random>
#include <tuple>

#include "model/expert_buffers.hpp"
#include "model/expert_rounds.hpp"

namespace espalier {
namespace {

using model::ExpertRounds;

/// A row on its way: expert, source rank, its number among those of the source for the expert.
using Row = std::tuple<std::int64_t, int, std::int64_t>;

std::vector<std::int64_t> random_counts(int ranks, std::int64_t num_experts, std::mt19937& random) {
  std::vector<std::int64_t> counts;
  for (std::int64_t i = 0; i < ranks * num_experts; ++i) {
    const auto kind = random() % 4;
    counts.push_back(kind == 0 ? 0 : static_cast<std::int64_t>(random() % (kind == 1 ? 40 : 7)));
  }
  return counts;
}

/// What a rank holds, sorted by expert.
std::vector<Row> rows_of(int rank, std::int64_t num_experts,
                         const std::vector<std::int64_t>& counts) {
  std::vector<Row> rows;
  for (std::int64_t e = 0; e < num_experts; ++e)
    for (std::int64_t i = 0; i < counts[static_cast<std::size_t>(rank * num_experts + e)]; ++i)
      rows.emplace_back(e, rank, i);
  return rows;
}

/// All rounds of all ranks, the messages carried from one to the other.
void check_all(int ranks, std::int64_t num_experts, std::int64_t capacity,
               const std::vector<std::int64_t>& counts) {
  const auto n = static_cast<std::size_t>(ranks);
  std::vector<ExpertRounds> all;
  std::vector<std::vector<Row>> held, arrived(n), returned(n);
  for (int rank = 0; rank < ranks; ++rank) {
    all.emplace_back(ranks, rank, num_experts, capacity);
    all.back().set_counts(counts);
    held.push_back(rows_of(rank, num_experts, counts));
    returned[static_cast<std::size_t>(rank)].resize(held.back().size(), Row{-1, -1, -1});
    REQUIRE(all.back().num_rounds() == all.front().num_rounds());
  }
  const std::int64_t local = num_experts / ranks;
  for (std::int64_t number = 0; number < all.front().num_rounds(); ++number) {
    std::vector<ExpertRounds::Round> rounds;
    for (ExpertRounds& of : all) rounds.push_back(of.round(number));
    for (std::size_t to = 0; to < n; ++to) {
      const ExpertRounds::Round& mine = rounds[to];
      REQUIRE(mine.num_rows <= capacity);
      std::vector<Row> received;
      for (std::size_t from = 0; from < n; ++from) {
        REQUIRE(rounds[from].send_rows[to] == mine.receive_rows[from]);
        const auto begin = held[from].begin() + rounds[from].send_begins[to];
        received.insert(received.end(), begin, begin + rounds[from].send_rows[to]);
      }
      REQUIRE(std::ssize(received) == mine.num_rows);
      std::vector<std::int32_t> received_of_window, window_of_received;
      all[to].fill_places(received_of_window, window_of_received);
      std::vector<Row> window;
      for (const std::int32_t place : received_of_window)
        window.push_back(received[static_cast<std::size_t>(place)]);
      REQUIRE(std::is_sorted(window.begin(), window.end()));
      for (std::int64_t e = 0; e < local; ++e)
        for (std::int64_t i = mine.offsets[static_cast<std::size_t>(e)];
             i < mine.offsets[static_cast<std::size_t>(e) + 1]; ++i)
          REQUIRE(std::get<0>(window[static_cast<std::size_t>(i)]) ==
                  static_cast<std::int64_t>(to) * local + e);
      REQUIRE(mine.offsets.back() == mine.num_rows);
      arrived[to].insert(arrived[to].end(), window.begin(), window.end());
      // And back.
      std::size_t place = 0;
      for (std::size_t from = 0; from < n; ++from)
        for (std::int64_t i = 0; i < mine.receive_rows[from]; ++i, ++place)
          returned[from][static_cast<std::size_t>(rounds[from].send_begins[to] + i)] =
              window[static_cast<std::size_t>(window_of_received[place])];
    }
  }
  REQUIRE(returned == held);
  for (std::size_t to = 0; to < n; ++to) {
    std::vector<Row> expected;
    for (const std::vector<Row>& rows : held)
      for (const Row& row : rows)
        if (std::get<0>(row) / local == static_cast<std::int64_t>(to)) expected.push_back(row);
    std::sort(expected.begin(), expected.end());
    REQUIRE(arrived[to] == expected);
  }
}

}  // namespace

TEST_CASE("every row meets its expert in the order of one rank and comes back, in any rounds") {
  std::mt19937 random(1);
  for (const int ranks : {1, 2, 3, 4})
    for (const std::int64_t per_rank : {1, 2, 3})
      for (const std::int64_t capacity : {1, 2, 5, 17, 1000})
        for (int i = 0; i < 3; ++i)
          check_all(ranks, ranks * per_rank, capacity,
                    random_counts(ranks, ranks * per_rank, random));
}

TEST_CASE("one expert may take everything, and a rank may have nothing") {
  for (const std::int64_t capacity : {1, 7, 100}) {
    check_all(2, 4, capacity, {0, 0, 0, 9, 0, 0, 0, 11});  // all to the last
    check_all(2, 4, capacity, {0, 0, 0, 0, 3, 1, 0, 2});   // a rank without tokens
    check_all(3, 3, capacity, {0, 0, 0, 0, 0, 0, 0, 0, 0});
    check_all(1, 2, capacity, {0, 13});
  }
}

TEST_CASE("memory for rows is what was asked for, and never more than can come") {
  model::LocalSizes s{};
  s.num_experts = 8;
  s.experts_per_token = 2;
  s.num_local_experts = 8;  // one rank: k rows of a token, always
  CHECK(model::ExpertSizes::of(s, 10, 2.0).capacity == 20);
  CHECK_FALSE(model::ExpertSizes::of(s, 10, 1.0).may_take_rounds());
  CHECK(model::ExpertSizes::of(s, 10, 0.125).capacity == 3);
  CHECK(model::ExpertSizes::of(s, 10, 0.125).may_take_rounds());
  s.num_local_experts = 2;  // four ranks
  CHECK(model::ExpertSizes::of(s, 10, 2.0).capacity == 40);
  CHECK(model::ExpertSizes::of(s, 10, 65536.0).capacity == 80);
  CHECK_FALSE(model::ExpertSizes::of(s, 10, 65536.0).may_take_rounds());
  s.num_local_experts = 1;  // a token has one row at most for a rank
  CHECK(model::ExpertSizes::of(s, 10, 65536.0).capacity == 80);
}

}  // namespace espalier
