// The groups of ranks by brute force: every grid of up to 64 ranks, every span, every rank.
#include <algorithm>
#include <catch2/catch.hpp>
#include <functional>
#include <vector>

#include "parallel/layout/shard_map.hpp"

using namespace espalier::parallel;

namespace {

constexpr int kMaxRanks = 64;

template <class Body>
void for_divisors(int number, Body&& body) {
  for (int divisor = 1; divisor <= number; ++divisor)
    if (number % divisor == 0) body(divisor);
}

template <class Body>
void for_shapes(Body&& body) {
  for (int t = 1; t <= kMaxRanks; ++t)
    for (int c = 1; t * c <= kMaxRanks; ++c)
      for (int d = 1; t * c * d <= kMaxRanks; ++d)
        for (int p = 1; t * c * d * p <= kMaxRanks; ++p)
          body(GridShape{.tensor = t, .context = c, .data = d, .pipeline = p});
}

/// Coordinates of a rank, counted and not computed.
std::vector<GridPlace> places(const GridShape& shape) {
  std::vector<GridPlace> all;
  for (int p = 0; p < shape.pipeline; ++p)
    for (int d = 0; d < shape.data; ++d)
      for (int c = 0; c < shape.context; ++c)
        for (int t = 0; t < shape.tensor; ++t)
          all.push_back({.tensor = t, .context = c, .data = d, .pipeline = p});
  return all;
}

using Same = std::function<bool(const GridPlace&, const GridPlace&)>;

/// Whether the groups are exactly the classes of `same`: hence they partition the world, are
/// ascending, and are the same list on each member.
bool are_classes(const GridShape& shape, const GridViews& views, Span span, const Same& same) {
  const std::vector<GridPlace> all = places(shape);
  for (int rank = 0; rank < shape.size(); ++rank) {
    std::vector<int> expected;
    for (int other = 0; other < shape.size(); ++other)
      if (same(all[static_cast<std::size_t>(rank)], all[static_cast<std::size_t>(other)]))
        expected.push_back(other);
    const ProcessGrid grid(shape, rank, views);
    const std::vector<int> group = grid.group(span);
    if (group != expected || grid.first_of(span) != group.front() ||
        grid.size_of(span) != static_cast<int>(group.size()) ||
        group[static_cast<std::size_t>(grid.index_in(span))] != rank)
      return false;
  }
  return true;
}

void check(const GridShape& shape, const GridViews& views, Span span, const Same& same) {
  INFO(ProcessGrid(shape, 0).describe()
       << ", kv replication " << views.kv_replication << ", expert " << views.expert
       << ", replicas " << views.replicas << ", span " << static_cast<int>(span));
  REQUIRE(are_classes(shape, views, span, same));
}

using P = const GridPlace&;

}  // namespace

TEST_CASE("the groups of every axis are the ranks that differ in nothing else") {
  for_shapes([](const GridShape& shape) {
    const auto check_span = [&](Span span, const Same& same) { check(shape, {}, span, same); };
    const int last = shape.pipeline - 1;
    const auto rest = [](P a, P b) { return a.tensor == b.tensor && a.pipeline == b.pipeline; };
    const auto stage = [](P a, P b) { return a.pipeline == b.pipeline; };
    const auto all = [](P a, P b) {
      return a.tensor == b.tensor && a.context == b.context && a.data == b.data &&
             a.pipeline == b.pipeline;
    };
    check_span(Span::self, all);
    check_span(Span::kv_replicas, all);  // without replication, experts and replicas
    check_span(Span::expert, all);
    check_span(Span::replicas, all);
    check_span(Span::expert_data, stage);
    check_span(Span::tensor,
               [&](P a, P b) { return a.context == b.context && a.data == b.data && stage(a, b); });
    check_span(Span::context, [&](P a, P b) { return a.data == b.data && rest(a, b); });
    check_span(Span::data, [&](P a, P b) { return a.context == b.context && rest(a, b); });
    check_span(Span::pipeline, [&](P a, P b) {
      return a.tensor == b.tensor && a.context == b.context && a.data == b.data;
    });
    check_span(Span::tokens_shared, rest);
    check_span(Span::kv_tokens, rest);
    check_span(Span::tokens, stage);
    check_span(Span::tied, [&](P a, P b) {
      const auto at_an_end = [&](P x) { return x.pipeline == 0 || x.pipeline == last; };
      return at_an_end(a) ? at_an_end(b) && a.tensor == b.tensor && a.context == b.context &&
                                a.data == b.data
                          : all(a, b);
    });
    check_span(Span::world, [](P, P) { return true; });
  });
}

TEST_CASE("the groups of every view are those of its definition") {
  for_shapes([](const GridShape& shape) {
    for_divisors(shape.tensor, [&](int replication) {
      const GridViews views{.kv_replication = replication};
      const auto heads = [&](P a, P b) {
        return a.tensor / replication == b.tensor / replication && a.pipeline == b.pipeline;
      };
      check(shape, views, Span::kv_replicas,
            [&](P a, P b) { return heads(a, b) && a.context == b.context && a.data == b.data; });
      check(shape, views, Span::kv_tokens, heads);
    });
    const auto index = [&](P a) {
      return a.tensor + shape.tensor * (a.context + shape.context * a.data);
    };
    for_divisors(shape.stage_size(), [&](int expert) {
      const GridViews views{.expert = expert};
      check(shape, views, Span::expert, [&](P a, P b) {
        return a.pipeline == b.pipeline && index(a) / expert == index(b) / expert;
      });
      check(shape, views, Span::expert_data, [&](P a, P b) {
        return a.pipeline == b.pipeline && index(a) % expert == index(b) % expert;
      });
    });
    for_divisors(shape.data, [&](int replicas) {
      const int part = shape.data / replicas;
      check(shape, {.replicas = replicas}, Span::replicas, [&](P a, P b) {
        return a.tensor == b.tensor && a.context == b.context && a.data % part == b.data % part &&
               a.pipeline == b.pipeline;
      });
    });
  });
}

TEST_CASE("a span's size is the product of what it spans, and its blocks are tensor groups") {
  for_shapes([](const GridShape& shape) {
    for_divisors(shape.tensor, [&](int replication) {
      const ProcessGrid grid(shape, shape.size() - 1, {.kv_replication = replication});
      const int shared = shape.context * shape.data;
      REQUIRE(grid.size_of(Span::tokens_shared) == shared);
      REQUIRE(grid.size_of(Span::kv_tokens) == replication * shared);
      REQUIRE(grid.size_of(Span::tokens) == shape.tensor * shared);
      REQUIRE(grid.size_of(Span::tokens) == shape.stage_size());
      for (const Span span : {Span::tokens_shared, Span::kv_tokens, Span::tokens}) {
        const std::vector<int> group = grid.group(span);
        const int block = grid.block_of(span);
        REQUIRE(grid.size_of(span) == block * shared);
        for (std::size_t i = 0; i < group.size(); ++i) {
          const auto first = i - i % static_cast<std::size_t>(block);
          REQUIRE(ProcessGrid(shape, group[i]).first_of(Span::tensor) ==
                  ProcessGrid(shape, group[first]).first_of(Span::tensor));
        }
      }
    });
  });
}

TEST_CASE("ranks that hold the same kv head are the kv replicas") {
  for (const int num_kv_heads : {1, 2, 4, 8})
    for (const int tensor : {1, 2, 4, 8, 16}) {
      const GridShape shape{.tensor = tensor, .context = 2, .data = 2};
      const TensorSpec k{.name = "k",
                         .rows = 3 * num_kv_heads,
                         .cols = 2,
                         .shard = ShardRule::kv_rows,
                         .num_kv_heads = num_kv_heads};
      check(shape, views_of(num_kv_heads, shape), Span::kv_replicas, [&](P a, P b) {
        return tensor_shard(k, a.tensor, tensor) == tensor_shard(k, b.tensor, tensor) &&
               a.context == b.context && a.data == b.data;
      });
    }
}

TEST_CASE("ranks with the same experts sum their gradients, and an expert group has all experts") {
  constexpr int kExperts = 8, kRows = 3;
  const TensorSpec experts{.name = "experts",
                           .rows = kExperts * kRows,
                           .cols = 2,
                           .shard = ShardRule::experts,
                           .num_experts = kExperts};
  for_shapes([&](const GridShape& shape) {
    for_divisors(shape.stage_size(), [&](int expert) {
      if (kExperts % expert != 0) return;
      const GridViews views{.expert = expert};
      std::vector<Rectangle> held;
      for (int rank = 0; rank < shape.size(); ++rank) {
        TensorSpec spec = experts;
        const ProcessGrid grid(shape, rank, views);
        spec.pipeline_rank = grid.pipeline_rank();
        held.push_back(held_shard(spec, grid));
        REQUIRE(held.back().rows() == kExperts / expert * kRows);
        REQUIRE(held.back().row_begin % kRows == 0);  // an expert is whole
      }
      const std::vector<GridPlace> all = places(shape);
      const auto at = [&](P place) {
        return held[static_cast<std::size_t>(rank_at(shape, place))].row_begin;
      };
      check(shape, views, Span::expert_data,
            [&](P a, P b) { return a.pipeline == b.pipeline && at(a) == at(b); });
      for (int rank = 0; rank < shape.size(); ++rank) {
        std::int64_t next = 0;  // in the order of the group's ranks
        for (const int other : ProcessGrid(shape, rank, views).group(Span::expert)) {
          REQUIRE(all[static_cast<std::size_t>(other)].pipeline ==
                  all[static_cast<std::size_t>(rank)].pipeline);
          REQUIRE(held[static_cast<std::size_t>(other)].row_begin == next);
          next = held[static_cast<std::size_t>(other)].row_end;
        }
        REQUIRE(next == experts.rows);
      }
    });
  });
}

TEST_CASE("without expert ranks the gradients of experts are summed where the router's are") {
  for_shapes([](const GridShape& shape) {
    for_divisors(shape.stage_size(), [&](int expert) {
      const ProcessGrid grid(shape, shape.size() - 1, {.expert = expert});
      const Span simplest = grid.simplest(Span::expert_data);
      REQUIRE(grid.group(simplest) == grid.group(Span::expert_data));
      REQUIRE((simplest == Span::expert_data) == (expert > 1));
      if (expert == 1) REQUIRE(simplest == grid.simplest(Span::tokens));
    });
  });
}

TEST_CASE("a rank's number follows from its place, and corners are the ends of each stage's axes") {
  for_shapes([](const GridShape& shape) {
    const std::vector<GridPlace> all = places(shape);
    std::vector<int> corners;
    for (int rank = 0; rank < shape.size(); ++rank) {
      const GridPlace& place = all[static_cast<std::size_t>(rank)];
      REQUIRE(rank_at(shape, place) == rank);
      const auto at_an_end = [](int i, int n) { return i == 0 || i == n - 1; };
      if (at_an_end(place.tensor, shape.tensor) && at_an_end(place.context, shape.context) &&
          at_an_end(place.data, shape.data))
        corners.push_back(rank);
    }
    REQUIRE(corner_ranks(shape) == corners);
  });
}

TEST_CASE("views that do not divide the grid are refused") {
  const GridShape shape{.tensor = 4, .context = 1, .data = 6};
  for (const GridViews views : {GridViews{.kv_replication = 3}, GridViews{.expert = 5},
                                GridViews{.replicas = 4}, GridViews{.kv_replication = 0}})
    REQUIRE_THROWS(ProcessGrid(shape, 0, views));
}
