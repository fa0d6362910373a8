#include "model/weights.hpp"

#include <algorithm>
#include <functional>

#include "base/integers.hpp"
#include "model/parts.hpp"

namespace espalier::model {

using device::View;

LocalSizes LocalSizes::of(const Architecture& a, const parallel::ProcessGrid& grid) {
  const std::int64_t n = grid.shape().tensor;
  const parallel::TensorSpec embedding{
      .name = "embedding", .rows = a.vocab_size, .shard = parallel::ShardRule::vocab_rows};
  const parallel::Rectangle rows =
      parallel::tensor_shard(embedding, grid.tensor_rank(), grid.shape().tensor);
  LocalSizes sizes{
      .hidden = a.hidden_size,
      .head_dim = a.head_dim,
      .num_heads = div_exact(a.num_heads, n),
      .num_kv_heads = n <= a.num_kv_heads ? div_exact(a.num_kv_heads, n) : 1,
      .intermediate = a.num_sparse_layers() == a.num_layers ? 0 : div_exact(a.intermediate, n),
      .vocab = parallel::allocated_rows(embedding, grid.shape().tensor),
      .vocab_valid = rows.rows(),
      .vocab_first = rows.row_begin,
      .num_layers = a.num_layers,
      .kv_replication = parallel::kv_replication(a.num_kv_heads, static_cast<int>(n)),
      .mlp_inputs = a.mlp == Mlp::swiglu ? 2 : 1,
      .norm_rows = norm_statistics_rows(a.normalization),
      .rotates = a.position_embedding == PositionEmbedding::rope,
      .num_positions = a.position_embedding == PositionEmbedding::learned ? a.max_positions : 0,
      .num_experts = a.num_experts,
      .num_local_experts = div_exact(a.num_experts, grid.views().expert),
      .experts_per_token = a.num_experts_per_token,
      .expert_intermediate = a.expert_intermediate};
  for (std::int64_t layer = 0; layer < a.num_layers; ++layer)
    sizes.sparse_layers.push_back(a.is_sparse(layer));
  return sizes;
}

ModelTensors allocate_tensors(const Architecture& architecture, const LocalSizes& s,
                              std::span<const StageExtent> stages, TensorSet set, DType dtype,
                              device::Arena& arena) {
  const auto norm = [&](const std::string& name) {
    NormTensors n{.weight = arena.allocate(name, dtype, 1, s.hidden), .bias = {}};
    if (architecture.normalization == Normalization::layer_norm)
      n.bias = arena.allocate(name + " bias", dtype, 1, s.hidden);
    return n;
  };
  const auto linear = [&](const std::string& name, std::int64_t rows, std::int64_t cols) {
    LinearTensors l{.weight = arena.allocate(name, dtype, rows, cols), .bias = {}};
    if (architecture.biases) l.bias = arena.allocate(name + " bias", dtype, 1, rows);
    return l;
  };
  const auto any = [&](auto&& has) { return std::any_of(stages.begin(), stages.end(), has); };
  const bool has_embedding = any(std::mem_fn(&StageExtent::has_embedding));
  const bool has_head = any(std::mem_fn(&StageExtent::has_head));
  ModelTensors t;
  if (has_embedding || (has_head && architecture.tied))
    t.embedding = arena.allocate("embedding", dtype, s.vocab, s.hidden);
  if (has_embedding && s.num_positions > 0)
    t.position_embedding = arena.allocate("positions", dtype, s.num_positions, s.hidden);
  for (std::int64_t layer = 0; layer < s.num_layers; ++layer) {
    BlockTensors& b = t.blocks.emplace_back();
    if (!any([&](const StageExtent& stage) { return stage.has_layer(layer); })) continue;
    const auto name = [&](const char* part) { return fmt::format("block {} {}", layer, part); };
    b.input_layernorm = norm(name("input_layernorm"));
    b.qkv = linear(name("qkv"), s.qkv_cols(), s.hidden);
    if (architecture.qk_norm) {
      b.q_norm = arena.allocate(name("q_norm"), dtype, 1, s.head_dim);
      b.k_norm = arena.allocate(name("k_norm"), dtype, 1, s.head_dim);
    }
    b.o = linear(name("o"), s.hidden, s.q_cols());
    b.post_attention_layernorm = norm(name("post_attention_layernorm"));
    if (s.is_sparse(layer)) {
      b.router = arena.allocate(name("router"), dtype, s.num_experts, s.hidden);
      b.expert_gate_up = arena.allocate(name("experts' gate_up"), dtype,
                                        s.num_local_experts * 2 * s.expert_intermediate, s.hidden);
      b.expert_down = arena.allocate(name("experts' down"), dtype, s.num_local_experts * s.hidden,
                                     s.expert_intermediate);
      continue;
    }
    b.gate_up = linear(name("gate_up"), s.gate_up_cols(), s.hidden);
    b.down = linear(name("down"), s.hidden, s.intermediate);
  }
  if (!has_head) return t;
  t.final_norm = norm("final norm");
  const bool is_embedding = architecture.tied && (set == TensorSet::weights || !has_embedding);
  t.lm_head = is_embedding ? t.embedding : arena.allocate("lm_head", dtype, s.vocab, s.hidden);
  return t;
}

namespace {

/// A vector is (1, n) to the operators and (n, 1) to the table.
View as_column(const View& row) {
  return {row.data, row.dtype, row.cols, 1, 1};
}

View of_norm(const NormTensors& norm, bool is_bias) {
  return as_column(is_bias ? norm.bias : norm.weight);
}

/// Rows [first, first + rows) of a linear layer, which may join several of the table's.
View of_linear(const LinearTensors& linear, bool is_bias, std::int64_t first, std::int64_t rows) {
  return is_bias ? as_column(linear.bias.col_range(first, rows))
                 : linear.weight.row_range(first, rows);
}

}  // namespace

View ModelTensors::of(const parallel::TensorSpec& spec, const LocalSizes& s) const {
  using parallel::WeightRole;
  const auto block = [&]() -> const BlockTensors& {
    return blocks.at(static_cast<std::size_t>(spec.layer));
  };
  const std::int64_t gates = s.mlp_inputs == 2 ? s.intermediate : 0;
  switch (spec.role) {
    case WeightRole::embedding:
      return embedding.row_range(0, s.vocab_valid);
    case WeightRole::position_embedding:
      return position_embedding;
    case WeightRole::attention_norm:
      return of_norm(block().input_layernorm, spec.is_bias);
    case WeightRole::query:
      return of_linear(block().qkv, spec.is_bias, 0, s.q_cols());
    case WeightRole::key:
      return of_linear(block().qkv, spec.is_bias, s.q_cols(), s.kv_cols());
    case WeightRole::value:
      return of_linear(block().qkv, spec.is_bias, s.q_cols() + s.kv_cols(), s.kv_cols());
    case WeightRole::query_norm:
      return as_column(block().q_norm);
    case WeightRole::key_norm:
      return as_column(block().k_norm);
    case WeightRole::attention_output:
      return of_linear(block().o, spec.is_bias, 0, s.hidden);
    case WeightRole::mlp_norm:
      return of_norm(block().post_attention_layernorm, spec.is_bias);
    case WeightRole::gate:
      return of_linear(block().gate_up, spec.is_bias, 0, gates);
    case WeightRole::up:
      return of_linear(block().gate_up, spec.is_bias, gates, s.intermediate);
    case WeightRole::down:
      return of_linear(block().down, spec.is_bias, 0, s.hidden);
    case WeightRole::router:
      return block().router;
    case WeightRole::expert_gate_up:
      return block().expert_gate_up;
    case WeightRole::expert_down:
      return block().expert_down;
    case WeightRole::final_norm:
      return of_norm(final_norm, spec.is_bias);
    case WeightRole::lm_head:
      return lm_head.row_range(0, s.vocab_valid);
  }
  fail(ExitStatus::internal, "{}: a weight of unknown role", spec.name);
}

int Buckets::of(const parallel::TensorSpec& spec) const {
  using parallel::WeightRole;
  if (spec.layer >= 0) return of_block(spec.layer);
  const bool before_blocks =
      spec.role == WeightRole::embedding || spec.role == WeightRole::position_embedding;
  return before_blocks ? embedding() : head();
}

int Buckets::of_block(std::int64_t layer) const {
  std::int64_t before = 0;
  for (const StageExtent& stage : stages) {
    if (stage.has_layer(layer)) return static_cast<int>(before + layer - stage.first);
    before += stage.num_layers;
  }
  fail(ExitStatus::internal, "block {} is on another rank", layer);
}

int Buckets::embedding() const {
  std::int64_t blocks = 0;
  for (const StageExtent& stage : stages) blocks += stage.num_layers;
  return static_cast<int>(blocks);
}

bool Buckets::has_embedding() const {
  return std::any_of(stages.begin(), stages.end(), std::mem_fn(&StageExtent::has_embedding));
}

bool Buckets::has_head() const {
  return std::any_of(stages.begin(), stages.end(), std::mem_fn(&StageExtent::has_head));
}

std::vector<int> Buckets::forward_order() const {
  std::vector<int> order{embedding()};
  for (int block = 0; block < embedding(); ++block) order.push_back(block);
  order.push_back(head());
  return order;
}

namespace {

std::vector<parallel::TensorSpec> placed_table(const Architecture& architecture,
                                               bool sequence_parallel,
                                               const StageAssignment& assignment) {
  std::vector<parallel::TensorSpec> table = tensor_table(architecture, sequence_parallel);
  place_on_stages(table, assignment, architecture.tied);
  return table;
}

}  // namespace

Weights::Weights(const Architecture& architecture, const parallel::ProcessGrid& grid, DType dtype,
                 device::Arena& weight_arena, device::Arena* gradient_arena, bool sequence_parallel,
                 const StageAssignment& assignment)
    : table(placed_table(architecture, sequence_parallel, assignment)),
      weights(),
      gradients(),
      sizes_(LocalSizes::of(architecture, grid)),
      stages_(assignment.of_rank(grid.pipeline_rank())),
      grid_(grid) {
  ESPALIER_ASSERT(assignment.placement.ranks == grid.shape().pipeline,
                  "stages of {} ranks on a pipeline of {}", assignment.placement.ranks,
                  grid.shape().pipeline);
  weights =
      allocate_tensors(architecture, sizes_, stages_, TensorSet::weights, dtype, weight_arena);
  if (gradient_arena != nullptr)
    gradients = allocate_tensors(architecture, sizes_, stages_, TensorSet::gradients, DType::f32,
                                 *gradient_arena);
}

Weights::Weights(const Architecture& architecture, const parallel::ProcessGrid& grid, DType dtype,
                 device::Arena& weight_arena, device::Arena* gradient_arena, bool sequence_parallel)
    : Weights(architecture, grid, dtype, weight_arena, gradient_arena, sequence_parallel,
              assign_stages({}, std::vector<std::int64_t>{architecture.num_layers})) {}

std::vector<parallel::LocalTensor> Weights::local_tensors() const {
  const bool has_gradients = !gradients.blocks.empty();
  std::vector<parallel::LocalTensor> tensors;
  tensors.reserve(table.size());
  for (const parallel::TensorSpec& spec : table) {
    parallel::LocalTensor& tensor = tensors.emplace_back();
    tensor.spec = &spec;
    if (!parallel::is_on_stage(spec, grid_.pipeline_rank())) continue;
    tensor.weight = weights.of(spec, sizes_);
    tensor.bucket = buckets().of(spec);
    const parallel::Rectangle shard = parallel::held_shard(spec, grid_);
    ESPALIER_ASSERT(std::max<std::int64_t>(shard.rows(), 0) == tensor.weight.rows &&
                        (shard.empty() || shard.cols() == tensor.weight.cols),
                    "{}: shard ({}, {}), view {}", spec.name, shard.rows(), shard.cols(),
                    device::describe(tensor.weight));
    if (has_gradients) tensor.gradient = gradients.of(spec, sizes_);
  }
  return tensors;
}

}  // namespace espalier::model
