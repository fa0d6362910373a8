#include "parallel/layout/shard_map.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <numeric>
#include <string>
#include <vector>

#include "base/error.hpp"

using namespace espalier::parallel;
using espalier::Error;
using espalier::ExitStatus;

namespace {

/// Its gradient is summed over all who hold the same shard.
TensorSpec spec_of(std::string name, std::int64_t rows, std::int64_t cols, ShardRule rule,
                   std::int64_t num_kv_heads = 0) {
  TensorSpec spec;
  spec.name = std::move(name);
  spec.rows = rows;
  spec.cols = cols;
  spec.is_vector = cols == 1;
  spec.shard = rule;
  spec.num_kv_heads = num_kv_heads;
  spec.gradient_span = holders(rule);
  return spec;
}

/// One tensor per rule, with sizes that divide by 1, 2, 4 and 8 only where the rule wants it.
std::vector<TensorSpec> table() {
  return {spec_of("norm", 19, 1, ShardRule::none),
          spec_of("q", 48, 5, ShardRule::rows),
          spec_of("o", 7, 64, ShardRule::columns),
          spec_of("embedding", 37, 6, ShardRule::vocab_rows),
          spec_of("small vocabulary", 5, 2, ShardRule::vocab_rows),
          spec_of("k, K = 1", 6, 4, ShardRule::kv_rows, 1),
          spec_of("k, K = 2", 12, 4, ShardRule::kv_rows, 2),
          spec_of("k, K = 8", 24, 3, ShardRule::kv_rows, 8)};
}

bool names_configuration(const Error& error) {
  return error.status() == ExitStatus::bad_configuration &&
         error.met() == espalier::Met::by_every_rank;
}

}  // namespace

TEST_CASE("rectangles intersect") {
  const Rectangle a{0, 4, 2, 6};
  REQUIRE(intersect(a, {2, 8, 0, 3}) == Rectangle{2, 4, 2, 3});
  REQUIRE(intersect(a, a) == a);
  REQUIRE(intersect(a, {4, 8, 0, 9}) == Rectangle{});
  REQUIRE(intersect(a, {0, 4, 6, 9}).empty());
}

TEST_CASE("the rules divide as the table says") {
  REQUIRE(tensor_shard(spec_of("w", 12, 5, ShardRule::none), 1, 4) == Rectangle{0, 12, 0, 5});
  REQUIRE(tensor_shard(spec_of("w", 12, 5, ShardRule::rows), 1, 4) == Rectangle{3, 6, 0, 5});
  REQUIRE(tensor_shard(spec_of("w", 5, 12, ShardRule::columns), 3, 4) == Rectangle{0, 5, 9, 12});

  // V = 10 over 4: padded to 3 rows each, the last rank holds one.
  const auto vocab = spec_of("w", 10, 2, ShardRule::vocab_rows);
  REQUIRE(allocated_rows(vocab, 4) == 3);
  REQUIRE(tensor_shard(vocab, 2, 4) == Rectangle{6, 9, 0, 2});
  REQUIRE(tensor_shard(vocab, 3, 4) == Rectangle{9, 10, 0, 2});
  // V = 5 over 4: two rows each, and nothing left for the last.
  const auto tiny = spec_of("w", 5, 2, ShardRule::vocab_rows);
  REQUIRE(tensor_shard(tiny, 2, 4) == Rectangle{4, 5, 0, 2});
  REQUIRE(tensor_shard(tiny, 3, 4).empty());
  REQUIRE(allocated_rows(tiny, 4) == 2);
}

TEST_CASE("kv heads are replicated when there are more ranks than heads") {
  const auto one = spec_of("k", 6, 4, ShardRule::kv_rows, 1);
  const auto two = spec_of("k", 12, 4, ShardRule::kv_rows, 2);
  for (int t = 0; t < 4; ++t) {
    REQUIRE(tensor_shard(one, t, 4) == Rectangle{0, 6, 0, 4});
    REQUIRE(tensor_shard(two, t, 4) == (t < 2 ? Rectangle{0, 6, 0, 4} : Rectangle{6, 12, 0, 4}));
  }
  REQUIRE(tensor_shard(two, 1, 2) == Rectangle{6, 12, 0, 4});
  REQUIRE(kv_replication(8, 1) == 1);
  REQUIRE(kv_replication(8, 8) == 1);
  REQUIRE(kv_replication(8, 16) == 2);
  REQUIRE(kv_replication(1, 4) == 4);
  REQUIRE(allocated_rows(two, 4) == 6);
}

TEST_CASE("what does not divide is the configuration's fault and every rank's") {
  const auto expect = [](const auto& call, const std::string& part) {
    try {
      call();
      FAIL("no error for " << part);
    } catch (const Error& error) {
      REQUIRE(names_configuration(error));
      REQUIRE_THAT(error.what(), Catch::Contains(part));
    }
  };
  expect([] { tensor_shard(spec_of("q_proj", 10, 4, ShardRule::rows), 0, 4); }, "q_proj");
  expect([] { tensor_shard(spec_of("o_proj", 4, 10, ShardRule::columns), 0, 4); }, "10 columns");
  expect([] { kv_replication(8, 3); }, "parallel.tensor = 3");
  expect([] { kv_replication(8, 12); }, "num_key_value_heads = 8");
}

TEST_CASE("rows are divided evenly over a group, the last shards shorter or empty") {
  REQUIRE(even_row_begins(10, 1) == std::vector<std::int64_t>{0, 10});
  REQUIRE(even_row_begins(10, 4) == std::vector<std::int64_t>{0, 3, 6, 9, 10});
  REQUIRE(even_row_begins(5, 4) == std::vector<std::int64_t>{0, 2, 4, 5, 5});
  REQUIRE(even_row_begins(0, 2) == std::vector<std::int64_t>{0, 0, 0});
  REQUIRE(even_row_begins(std::int64_t{1} << 40, 2)[1] == std::int64_t{1} << 39);
}

namespace {

/// Of the elements of a weight, who owns and who counts them, over all ranks of a grid.
void check_owners(const TensorSpec& spec, const GridShape& shape, const GridViews& views) {
  std::vector<int> counted(static_cast<std::size_t>(spec.num_elements()), 0);
  std::int64_t owned = 0;
  for (int rank = 0; rank < shape.size(); ++rank) {
    const ProcessGrid grid(shape, rank, views);
    const Rectangle shard = owned_shard(spec, grid);
    REQUIRE(intersect(shard, held_shard(spec, grid)).size() == shard.size());
    REQUIRE((is_on_stage(spec, grid.pipeline_rank()) || shard.empty()));
    owned += shard.size();
    if (!counts_here(spec, grid)) continue;
    for (auto row = shard.row_begin; row < shard.row_end; ++row)
      for (auto col = shard.col_begin; col < shard.col_end; ++col)
        ++counted[static_cast<std::size_t>(row * spec.cols + col)];
  }
  INFO(spec.name << ", " << ProcessGrid(shape, 0).describe() << ", expert " << views.expert
                 << ", on stages " << spec.pipeline_rank << " and " << spec.tied_pipeline_rank);
  REQUIRE(std::all_of(counted.begin(), counted.end(), [](int n) { return n == 1; }));
  const bool all_hold_what_they_sum = spec.gradient_span == holders(spec.shard);
  const int stages = spec.tied_pipeline_rank > 0 ? 2 : 1;
  REQUIRE(owned == spec.num_elements() * stages * (all_hold_what_they_sum ? 1 : shape.tensor));
}

template <class Body>
void for_expert_sizes(const TensorSpec& spec, const GridShape& shape, Body&& body) {
  const auto common =
      spec.shard == ShardRule::experts ? std::gcd(spec.num_experts, shape.stage_size()) : 1;
  for (int expert = 1; expert <= common; ++expert)
    if (common % expert == 0) body(expert);
}

}  // namespace

TEST_CASE("every element of every weight is owned and counted once, on every grid of 64 ranks") {
  // Norms without sequence parallelism are summed over fewer ranks than hold them.
  auto weights = table();
  weights.push_back(spec_of("norm, not split", 19, 1, ShardRule::none));
  weights.back().gradient_span = Span::tokens_shared;
  for (const int num_experts : {6, 8}) {
    weights.push_back(spec_of("experts", 2 * num_experts, 3, ShardRule::experts));
    weights.back().num_experts = num_experts;
  }
  for (const TensorSpec& weight : weights)
    for (const int tensor : {1, 2, 4, 8})
      for (int context = 1; tensor * context <= 64; ++context)
        for (int data = 1; tensor * context * data <= 64; ++data)
          for (int pipeline = 1; tensor * context * data * pipeline <= 64; ++pipeline) {
            const GridShape shape{
                .tensor = tensor, .context = context, .data = data, .pipeline = pipeline};
            TensorSpec spec = weight;
            for_expert_sizes(spec, shape, [&](int expert) {
              const GridViews views = spec.num_kv_heads > 0
                                          ? views_of(spec.num_kv_heads, shape, expert)
                                          : GridViews{.expert = expert};
              spec.pipeline_rank = pipeline / 2;
              check_owners(spec, shape, views);
              if (spec.shard != ShardRule::vocab_rows || pipeline == 1) return;
              spec.pipeline_rank = 0;  // a tied embedding
              spec.tied_pipeline_rank = pipeline - 1;
              check_owners(spec, shape, views);
            });
          }
}

TEST_CASE("experts are divided whole, and only over ranks that divide them") {
  TensorSpec spec = spec_of("gate_up", 24, 5, ShardRule::experts);
  spec.num_experts = 8;
  const GridShape shape{.tensor = 2, .data = 4};
  REQUIRE(held_shard(spec, {shape, 5, {.expert = 4}}) == Rectangle{6, 12, 0, 5});
  REQUIRE(held_shard(spec, {shape, 7, {.expert = 8}}) == Rectangle{21, 24, 0, 5});
  REQUIRE(held_shard(spec, {shape, 7}) == Rectangle{0, 24, 0, 5});
  spec.pipeline_rank = 1;  // of which this grid has none
  REQUIRE(held_shard(spec, {shape, 5, {.expert = 4}}).empty());
  spec.pipeline_rank = 0;
  spec.num_experts = 6;
  try {
    held_shard(spec, {shape, 0, {.expert = 4}});
    FAIL("6 experts over 4 ranks");
  } catch (const Error& error) {
    REQUIRE(names_configuration(error));
    REQUIRE_THAT(error.what(), Catch::Contains("6 experts") && Catch::Contains("expert = 4"));
  }
}

TEST_CASE("ranks that hold the same shard are the holders, and others have nothing of it") {
  for (const TensorSpec& spec : table())
    for (const int n : {1, 2, 4, 8}) {
      const GridShape shape{.tensor = n, .context = 1, .data = 2, .pipeline = 1};
      const auto views = spec.num_kv_heads > 0 ? views_of(spec.num_kv_heads, shape) : GridViews{};
      for (int rank = 0; rank < shape.size(); ++rank) {
        const ProcessGrid grid(shape, rank, views);
        const Rectangle shard = tensor_shard(spec, grid.tensor_rank(), n);
        REQUIRE(shard.rows() <= allocated_rows(spec, n));
        const std::vector<int> same = grid.group(holders(spec.shard));
        for (int other = 0; other < shape.size(); ++other) {
          const Rectangle theirs = tensor_shard(spec, ProcessGrid(shape, other).tensor_rank(), n);
          if (std::find(same.begin(), same.end(), other) != same.end())
            REQUIRE(theirs == shard);
          else
            REQUIRE(intersect(shard, theirs).empty());
        }
      }
    }
}
