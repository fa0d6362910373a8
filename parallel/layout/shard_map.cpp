#include "parallel/layout/shard_map.hpp"

#include <algorithm>

#include "base/error.hpp"
#include "base/integers.hpp"

namespace espalier::parallel {
namespace {

/// The grid and the model are read alike by every rank, so every rank meets these errors.
template <class... Args>
void require_divisible(bool condition, fmt::format_string<Args...> format, Args&&... args) {
  if (!condition)
    throw Error(ExitStatus::bad_configuration, fmt::format(format, std::forward<Args>(args)...),
                Met::by_every_rank);
}

std::int64_t even_share(const TensorSpec& spec, std::int64_t count, const char* what, int n) {
  require_divisible(divides(spec.shard, count, n),
                    "{}: {} {} cannot be divided evenly over parallel.tensor = {}; choose a "
                    "divisor",
                    spec.name, count, what, n);
  return count / n;
}

}  // namespace

bool divides(ShardRule rule, std::int64_t count, std::int64_t n) {
  switch (rule) {
    case ShardRule::none:
      return true;
    case ShardRule::rows:
    case ShardRule::columns:
      return count % n == 0;
    case ShardRule::vocab_rows:
      return (n - 1) * div_ceil(count, n) < count;
    case ShardRule::kv_rows:
      return count % n == 0 || n % count == 0;
    case ShardRule::experts:
      return count % n == 0;
  }
  fail(ExitStatus::internal, "an unknown shard rule");
}

Rectangle intersect(const Rectangle& a, const Rectangle& b) {
  const Rectangle both{std::max(a.row_begin, b.row_begin), std::min(a.row_end, b.row_end),
                       std::max(a.col_begin, b.col_begin), std::min(a.col_end, b.col_end)};
  return both.empty() ? Rectangle{} : both;
}

Rectangle tensor_shard(const TensorSpec& spec, int t, int n) {
  ESPALIER_ASSERT(0 <= t && t < n, "tensor rank {} of {}", t, n);
  const std::int64_t R = spec.rows;
  const std::int64_t C = spec.cols;
  switch (spec.shard) {
    case ShardRule::none:
      return {0, R, 0, C};
    case ShardRule::rows: {
      const std::int64_t share = even_share(spec, R, "rows", n);
      return {t * share, (t + 1) * share, 0, C};
    }
    case ShardRule::columns: {
      const std::int64_t share = even_share(spec, C, "columns", n);
      return {0, R, t * share, (t + 1) * share};
    }
    case ShardRule::vocab_rows: {
      const std::int64_t padded = div_ceil(R, n);
      return {std::min(R, t * padded), std::min(R, (t + 1) * padded), 0, C};
    }
    case ShardRule::kv_rows: {
      const int replication = kv_replication(spec.num_kv_heads, n);
      const std::int64_t share = div_exact(R, n / replication);
      const std::int64_t group = t / replication;
      return {group * share, (group + 1) * share, 0, C};
    }
    case ShardRule::experts:
      fail(ExitStatus::internal, "{}: experts are not divided over tensor ranks", spec.name);
  }
  fail(ExitStatus::internal, "{}: unknown shard rule", spec.name);
}

bool is_on_stage(const TensorSpec& spec, int pipeline_rank) {
  return pipeline_rank == spec.pipeline_rank || pipeline_rank == spec.tied_pipeline_rank;
}

Rectangle held_shard(const TensorSpec& spec, const ProcessGrid& grid) {
  if (!is_on_stage(spec, grid.pipeline_rank())) return {};
  if (spec.shard != ShardRule::experts)
    return tensor_shard(spec, grid.tensor_rank(), grid.shape().tensor);
  const int n = grid.views().expert;
  require_divisible(divides(spec.shard, spec.num_experts, n),
                    "{}: {} experts cannot be divided evenly over parallel.expert = {}; choose a "
                    "divisor",
                    spec.name, spec.num_experts, n);
  const std::int64_t share = spec.rows / n;
  const std::int64_t i = grid.index_in(Span::expert);
  return {i * share, (i + 1) * share, 0, spec.cols};
}

std::int64_t allocated_rows(const TensorSpec& spec, int n) {
  return spec.shard == ShardRule::vocab_rows ? div_ceil(spec.rows, n)
                                             : tensor_shard(spec, 0, n).rows();
}

int kv_replication(std::int64_t num_kv_heads, int n) {
  ESPALIER_ASSERT(num_kv_heads > 0 && n > 0, "K = {}, n = {}", num_kv_heads, n);
  require_divisible(divides(ShardRule::kv_rows, num_kv_heads, n),
                    "parallel.tensor = {} and model.num_key_value_heads = {}: one must divide the "
                    "other",
                    n, num_kv_heads);
  return n > num_kv_heads ? narrow<int>(n / num_kv_heads) : 1;
}

GridViews views_of(std::int64_t num_kv_heads, const GridShape& shape, int expert) {
  return {.kv_replication = kv_replication(num_kv_heads, shape.tensor), .expert = expert};
}

Span holders(ShardRule rule) {
  switch (rule) {
    case ShardRule::none:
      return Span::tokens;
    case ShardRule::kv_rows:
      return Span::kv_tokens;
    case ShardRule::experts:
      return Span::expert_data;
    default:
      return Span::tokens_shared;
  }
}

bool counts_here(const TensorSpec& spec, const ProcessGrid& grid) {
  return grid.pipeline_rank() == spec.pipeline_rank &&
         grid.first_of(spec.gradient_span) == grid.first_of(holders(spec.shard));
}

std::vector<std::int64_t> even_row_begins(std::int64_t rows, int ranks) {
  ESPALIER_ASSERT(rows >= 0 && ranks > 0, "{} rows over {}", rows, ranks);
  const std::int64_t share = div_ceil(rows, ranks);
  std::vector<std::int64_t> begins(static_cast<std::size_t>(ranks) + 1);
  for (int r = 0; r <= ranks; ++r) begins[static_cast<std::size_t>(r)] = std::min(rows, r * share);
  return begins;
}

Rectangle owned_shard(const TensorSpec& spec, const ProcessGrid& grid) {
  Rectangle shard = held_shard(spec, grid);
  // As even_row_begins, of which only two are needed: rank 0 asks for every rank of the grid.
  const std::int64_t share = div_ceil(shard.rows(), grid.size_of(spec.gradient_span));
  const std::int64_t first = shard.row_begin + share * grid.index_in(spec.gradient_span);
  const std::int64_t last = shard.row_end;
  shard.row_begin = std::min(last, first);
  shard.row_end = std::min(last, first + share);
  return shard;
}

}  // namespace espalier::parallel
