#include "parallel/zero.hpp"

#include <catch2/catch.hpp>
#include <vector>

#include "base/error.hpp"

using namespace espalier::parallel;
using espalier::Error;

namespace {

std::vector<TensorSpec> specs() {
  std::vector<TensorSpec> specs(7);
  specs[0] = {.name = "embedding", .rows = 11, .cols = 3, .shard = ShardRule::vocab_rows};
  specs[1] = {.name = "norm",
              .rows = 7,
              .is_vector = true,
              .weight_decay = false,
              .gradient_span = Span::tokens};
  specs[2] = {.name = "k",
              .rows = 6,
              .cols = 2,
              .shard = ShardRule::kv_rows,
              .gradient_span = Span::kv_tokens,
              .num_kv_heads = 2};
  specs[3] = {.name = "o", .rows = 5, .cols = 8, .shard = ShardRule::columns};
  specs[4] = {.name = "norm, tokens not split", .rows = 7, .is_vector = true};
  specs[5] = {.name = "router", .rows = 4, .cols = 3, .gradient_span = Span::tokens};
  specs[6] = {.name = "experts",
              .rows = 12,
              .cols = 3,
              .shard = ShardRule::experts,
              .gradient_span = Span::expert_data,
              .num_experts = 4};
  return specs;
}

std::vector<LocalTensor> planned(const std::vector<TensorSpec>& specs) {
  std::vector<LocalTensor> tensors;
  for (const TensorSpec& spec : specs)
    tensors.push_back({.spec = &spec, .weight = {}, .gradient = {}, .bucket = 0});
  return tensors;
}

ProcessGrid grid_of(const GridShape& shape, int rank, int expert = 1) {
  return {shape, rank, views_of(2, shape, expert)};
}

void mark(std::vector<int>& marks, const TensorSpec& spec, const Rectangle& shard) {
  for (auto row = shard.row_begin; row < shard.row_end; ++row)
    for (auto col = shard.col_begin; col < shard.col_end; ++col)
      ++marks[static_cast<std::size_t>(row * spec.cols + col)];
}

}  // namespace

namespace {

/// On a pipeline the embedding lies on both ends, the rest on the last stage.
void check_written(int zero_stage, const GridShape& shape, int expert) {
  std::vector<TensorSpec> table = specs();
  for (TensorSpec& spec : table) spec.pipeline_rank = shape.pipeline - 1;
  table[0].pipeline_rank = 0;
  if (shape.pipeline > 1) table[0].tied_pipeline_rank = shape.pipeline - 1;
  const auto tensors = planned(table);
  std::vector<std::vector<int>> written;
  for (const TensorSpec& spec : table)
    written.emplace_back(static_cast<std::size_t>(spec.num_elements()), 0);
  for (int rank = 0; rank < shape.size(); ++rank) {
    const ProcessGrid grid = grid_of(shape, rank, expert);
    const ZeroPartition partition(tensors, grid, zero_stage);
    REQUIRE(partition.zero_stage() == zero_stage);
    for (const OwnedShard& shard : partition.shards()) {
      const auto i = static_cast<std::size_t>(shard.tensor);
      REQUIRE_FALSE(shard.rectangle.empty());
      REQUIRE(is_on_stage(table[i], grid.pipeline_rank()));
      REQUIRE(shard.row_end - shard.row_begin == shard.rectangle.rows());
      REQUIRE(intersect(shard.written, shard.rectangle).size() == shard.written.size());
      if (!shard.writes) continue;
      REQUIRE(written_shard(table[i], grid) == shard.written);
      mark(written[i], table[i], shard.written);
    }
  }
  for (std::size_t i = 0; i < table.size(); ++i) {
    INFO(table[i].name << ", ZeRO " << zero_stage << ", " << ProcessGrid(shape, 0).describe()
                       << ", expert " << expert);
    const auto once = [](int n) { return n == 1; };
    REQUIRE(std::all_of(written[i].begin(), written[i].end(), once));
  }
}

}  // namespace

TEST_CASE("what ranks write tiles every tensor once at both stages") {
  for (int stage : {0, 1})
    for (const GridShape shape :
         {GridShape{.tensor = 1, .data = 1}, GridShape{.tensor = 4, .data = 3},
          GridShape{.tensor = 2, .context = 2, .data = 2}, GridShape{.tensor = 1, .data = 9},
          GridShape{.tensor = 2, .data = 2, .pipeline = 2},
          GridShape{.tensor = 1, .data = 4, .pipeline = 3}})
      for (const int expert : {1, 2, 4})
        if (shape.stage_size() % expert == 0) check_written(stage, shape, expert);
}

TEST_CASE("stage 0 keeps every local row, stage 1 the rows of its share") {
  const auto table = specs();
  const auto tensors = planned(table);
  const GridShape shape{.tensor = 2, .data = 3};
  for (int rank = 0; rank < shape.size(); ++rank) {
    const ProcessGrid grid = grid_of(shape, rank);
    const ZeroPartition all(tensors, grid, 0), share(tensors, grid, 1);
    for (const OwnedShard& shard : all.shards())
      REQUIRE(shard.rectangle == held_shard(table[static_cast<std::size_t>(shard.tensor)], grid));
    for (const OwnedShard& shard : share.shards()) {
      const Span span = table[static_cast<std::size_t>(shard.tensor)].gradient_span;
      const auto index = static_cast<std::size_t>(grid.index_in(span));
      REQUIRE(std::ssize(share.begins(shard.tensor)) == grid.size_of(span) + 1);
      REQUIRE(shard.row_begin == share.begins(shard.tensor)[index]);
      REQUIRE(shard.row_end == share.begins(shard.tensor)[index + 1]);
      REQUIRE(shard.written == shard.rectangle);
      REQUIRE(std::ranges::equal(all.begins(shard.tensor), share.begins(shard.tensor)));
    }
  }
}

TEST_CASE("a grid that knows nothing of the kv heads' replication is refused") {
  const auto table = specs();
  const GridShape shape{.tensor = 4, .data = 1};
  REQUIRE_THROWS_AS(ZeroPartition(planned(table), ProcessGrid(shape, 0), 1), Error);
}

TEST_CASE("a stage that does not exist is refused") {
  const auto table = specs();
  REQUIRE_THROWS_AS(ZeroPartition(planned(table), ProcessGrid({}, 0), 2), Error);
}
