// Who counts which element of a whole model, by the arithmetic of the layout alone: every grid of
// up to 64 ranks, with experts and stages.
#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <numeric>

#include "model/tensor_table.hpp"
#include "support/architectures.hpp"

using namespace espalier;
using parallel::GridShape;
using parallel::GridViews;
using parallel::ProcessGrid;
using parallel::Rectangle;
using parallel::TensorSpec;

namespace {

constexpr int kMaxRanks = 64;

/// The blocks go to the stages in turn, some of which have none; what is before them to the first
/// stage, what is behind them to the last.
std::vector<TensorSpec> assigned(const model::Architecture& a, bool sequence_parallel,
                                 int num_stages) {
  std::vector<TensorSpec> table = model::tensor_table(a, sequence_parallel);
  for (TensorSpec& spec : table) {
    const bool is_embedding = spec.role == parallel::WeightRole::embedding;
    spec.pipeline_rank = spec.layer >= 0 ? static_cast<int>(spec.layer * num_stages / a.num_layers)
                         : is_embedding  ? 0
                                         : num_stages - 1;
    if (is_embedding && a.tied && num_stages > 1) spec.tied_pipeline_rank = num_stages - 1;
  }
  return table;
}

/// With every gradient 1 the sum of what the ranks square is the number of elements, of which each
/// is one rank's to count.
void check_counts(const model::Architecture& a, const GridShape& shape, int expert) {
  const bool sequence_parallel = shape.tensor > 1;
  const std::vector<TensorSpec> table = assigned(a, sequence_parallel, shape.pipeline);
  const GridViews views = parallel::views_of(a.num_kv_heads, shape, expert);
  std::vector<ProcessGrid> ranks;
  for (int rank = 0; rank < shape.size(); ++rank) ranks.emplace_back(shape, rank, views);
  double squares = 0.0;
  std::vector<std::uint8_t> counted;
  for (const TensorSpec& spec : table) {
    counted.assign(static_cast<std::size_t>(spec.num_elements()), 0);
    for (const ProcessGrid& grid : ranks) {
      if (!parallel::counts_here(spec, grid)) continue;
      const Rectangle shard = parallel::owned_shard(spec, grid);
      squares += static_cast<double>(shard.size());
      for (auto row = shard.row_begin; row < shard.row_end; ++row)
        for (auto col = shard.col_begin; col < shard.col_end; ++col)
          ++counted[static_cast<std::size_t>(row * spec.cols + col)];
    }
    INFO(spec.name << ", " << ProcessGrid(shape, 0).describe() << ", expert " << expert);
    REQUIRE(std::all_of(counted.begin(), counted.end(), [](std::uint8_t n) { return n == 1; }));
  }
  REQUIRE(std::sqrt(squares) == std::sqrt(static_cast<double>(a.num_parameters())));
}

}  // namespace

TEST_CASE("with all gradients 1 the norm is sqrt(N) on every grid with experts and stages") {
  testing::Sizes sizes{.H = 8, .F = 12, .L = 3, .A = 4, .K = 2, .D = 2, .tied = true, .V = 19};
  for (const bool tied : {true, false}) {
    sizes.tied = tied;
    model::Architecture a = testing::qwen3_moe(sizes, 8, 2, 3);
    a.mlp_only_layers = {1};
    for (const int tensor : {1, 2, 4})
      for (const int context : {1, 2})
        for (int data = 1; tensor * context * data <= kMaxRanks; ++data)
          for (int pipeline = 1; tensor * context * data * pipeline <= kMaxRanks; ++pipeline) {
            const GridShape shape{
                .tensor = tensor, .context = context, .data = data, .pipeline = pipeline};
            const int common = std::gcd(8, shape.stage_size());
            for (int expert = 1; expert <= common; expert *= 2) check_counts(a, shape, expert);
          }
  }
}
