#include "model/weights.hpp"

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
  return {
      .hidden = a.hidden_size,
      .head_dim = a.head_dim,
      .num_heads = div_exact(a.num_heads, n),
      .num_kv_heads = n <= a.num_kv_heads ? div_exact(a.num_kv_heads, n) : 1,
      .intermediate = div_exact(a.intermediate, n),
      .vocab = parallel::allocated_rows(embedding, grid.shape().tensor),
      .vocab_valid = rows.rows(),
      .vocab_first = rows.row_begin,
      .num_layers = a.num_layers,
      .kv_replication = parallel::kv_replication(a.num_kv_heads, static_cast<int>(n)),
      .mlp_inputs = a.mlp == Mlp::swiglu ? 2 : 1,
      .norm_rows = norm_statistics_rows(a.normalization),
      .rotates = a.position_embedding == PositionEmbedding::rope,
      .num_positions = a.position_embedding == PositionEmbedding::learned ? a.max_positions : 0};
}

ModelTensors allocate_tensors(const Architecture& architecture, const LocalSizes& s, DType dtype,
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
  ModelTensors t;
  t.embedding = arena.allocate("embedding", dtype, s.vocab, s.hidden);
  if (s.num_positions > 0)
    t.position_embedding = arena.allocate("positions", dtype, s.num_positions, s.hidden);
  for (std::int64_t layer = 0; layer < s.num_layers; ++layer) {
    BlockTensors b;
    const auto name = [&](const char* part) { return fmt::format("block {} {}", layer, part); };
    b.input_layernorm = norm(name("input_layernorm"));
    b.qkv = linear(name("qkv"), s.qkv_cols(), s.hidden);
    if (architecture.qk_norm) {
      b.q_norm = arena.allocate(name("q_norm"), dtype, 1, s.head_dim);
      b.k_norm = arena.allocate(name("k_norm"), dtype, 1, s.head_dim);
    }
    b.o = linear(name("o"), s.hidden, s.q_cols());
    b.post_attention_layernorm = norm(name("post_attention_layernorm"));
    b.gate_up = linear(name("gate_up"), s.gate_up_cols(), s.hidden);
    b.down = linear(name("down"), s.hidden, s.intermediate);
    t.blocks.push_back(b);
  }
  t.final_norm = norm("final norm");
  t.lm_head = architecture.tied ? t.embedding : arena.allocate("lm_head", dtype, s.vocab, s.hidden);
  return t;
}

namespace {

/// The views of a rank's tensors in the tensor table's order.
std::vector<View> views_in_table_order(const ModelTensors& t, const LocalSizes& s, bool tied) {
  std::vector<View> views;
  // A vector is (1, n) to the operators and (n, 1) to the table. What a model lacks has no columns.
  const auto vector = [&](View v) {
    if (v.cols > 0) views.push_back({v.data, v.dtype, v.cols, 1, 1});
  };
  const auto norm = [&](const NormTensors& n) {
    vector(n.weight);
    vector(n.bias);
  };
  const auto linear = [&](const LinearTensors& l) {
    views.push_back(l.weight);
    vector(l.bias);
  };
  /// The parts of a fused layer: all weights, then all biases.
  const auto fused = [&](const LinearTensors& l, std::initializer_list<std::int64_t> parts) {
    std::int64_t first = 0;
    for (const std::int64_t rows : parts) {
      views.push_back(l.weight.row_range(first, rows));
      first += rows;
    }
    first = 0;
    for (const std::int64_t rows : parts) {
      if (l.bias.cols > 0) vector(l.bias.col_range(first, rows));
      first += rows;
    }
  };
  views.push_back(t.embedding.row_range(0, s.vocab_valid));
  if (s.num_positions > 0) views.push_back(t.position_embedding);
  for (const BlockTensors& b : t.blocks) {
    norm(b.input_layernorm);
    fused(b.qkv, {s.q_cols(), s.kv_cols(), s.kv_cols()});
    linear(b.o);
    vector(b.q_norm);
    vector(b.k_norm);
    norm(b.post_attention_layernorm);
    if (s.mlp_inputs == 2)
      fused(b.gate_up, {s.intermediate, s.intermediate});
    else
      linear(b.gate_up);
    linear(b.down);
  }
  norm(t.final_norm);
  if (!tied) views.push_back(t.lm_head.row_range(0, s.vocab_valid));
  return views;
}

}  // namespace

Weights::Weights(const Architecture& architecture, const parallel::ProcessGrid& grid, DType dtype,
                 device::Arena& weight_arena, device::Arena* gradient_arena, bool sequence_parallel)
    : table(tensor_table(architecture, sequence_parallel)),
      weights(),
      gradients(),
      sizes_(LocalSizes::of(architecture, grid)),
      shape_(grid.shape()),
      tensor_rank_(grid.tensor_rank()) {
  weights = allocate_tensors(architecture, sizes_, dtype, weight_arena);
  if (gradient_arena != nullptr)
    gradients = allocate_tensors(architecture, sizes_, DType::f32, *gradient_arena);
}

std::vector<int> Weights::forward_order() const {
  const int num_layers = static_cast<int>(sizes_.num_layers);
  std::vector<int> order{num_layers};
  for (int layer = 0; layer < num_layers; ++layer) order.push_back(layer);
  order.push_back(num_layers + 1);
  return order;
}

std::vector<parallel::LocalTensor> Weights::local_tensors() const {
  const bool tied = table.back().name != "lm_head.weight";
  const std::vector<View> w = views_in_table_order(weights, sizes_, tied);
  const std::vector<View> g = gradients.blocks.empty()
                                  ? std::vector<View>(w.size())
                                  : views_in_table_order(gradients, sizes_, tied);
  ESPALIER_ASSERT(w.size() == table.size(), "{} views, {} rows of the table", w.size(),
                  table.size());
  std::vector<parallel::LocalTensor> tensors;
  for (std::size_t i = 0; i < table.size(); ++i) {
    const parallel::TensorSpec& spec = table[i];
    const parallel::Rectangle shard = parallel::tensor_shard(spec, tensor_rank_, shape_.tensor);
    ESPALIER_ASSERT(std::max<std::int64_t>(shard.rows(), 0) == w[i].rows &&
                        (shard.empty() || shard.cols() == w[i].cols),
                    "{}: shard ({}, {}), view {}", spec.name, shard.rows(), shard.cols(),
                    device::describe(w[i]));
    // The table begins with the embeddings and ends with the final norm and the LM head.
    const bool before_blocks = i == 0 || (i == 1 && sizes_.num_positions > 0);
    const int bucket = spec.layer >= 0
                           ? spec.layer
                           : static_cast<int>(sizes_.num_layers) + (before_blocks ? 0 : 1);
    tensors.push_back({.spec = &spec, .weight = w[i], .gradient = g[i], .bucket = bucket});
  }
  return tensors;
}

}  // namespace espalier::model
