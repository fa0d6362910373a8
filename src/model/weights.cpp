#include "model/weights.hpp"

#include "base/integers.hpp"

namespace espalier::model {

using device::View;

LocalSizes LocalSizes::of(const Architecture& a, const parallel::ProcessGrid& grid) {
  const std::int64_t n = grid.shape().tensor;
  const std::int64_t vocab = div_ceil(a.vocab_size, n);
  const std::int64_t first = std::min(a.vocab_size, vocab * grid.tensor_rank());
  return {.hidden = a.hidden_size,
          .head_dim = a.head_dim,
          .num_heads = div_exact(a.num_heads, n),
          .num_kv_heads = n <= a.num_kv_heads ? div_exact(a.num_kv_heads, n) : 1,
          .intermediate = div_exact(a.intermediate, n),
          .vocab = vocab,
          .vocab_valid = std::min(vocab, a.vocab_size - first),
          .vocab_first = first,
          .num_layers = a.num_layers,
          .kv_replication = parallel::kv_replication(a.num_kv_heads, static_cast<int>(n))};
}

ModelTensors allocate_tensors(const Architecture& architecture, const LocalSizes& s, DType dtype,
                              device::Arena& arena) {
  ModelTensors t;
  t.embedding = arena.allocate("embedding", dtype, s.vocab, s.hidden);
  for (std::int64_t layer = 0; layer < s.num_layers; ++layer) {
    BlockTensors b;
    const auto allocate = [&](const char* name, std::int64_t rows, std::int64_t cols) {
      return arena.allocate(fmt::format("block {} {}", layer, name), dtype, rows, cols);
    };
    b.input_layernorm = allocate("input_layernorm", 1, s.hidden);
    b.qkv = allocate("qkv", s.qkv_cols(), s.hidden);
    if (architecture.qk_norm) {
      b.q_norm = allocate("q_norm", 1, s.head_dim);
      b.k_norm = allocate("k_norm", 1, s.head_dim);
    }
    b.o = allocate("o", s.hidden, s.q_cols());
    b.post_attention_layernorm = allocate("post_attention_layernorm", 1, s.hidden);
    b.gate_up = allocate("gate_up", 2 * s.intermediate, s.hidden);
    b.down = allocate("down", s.hidden, s.intermediate);
    t.blocks.push_back(b);
  }
  t.final_norm = arena.allocate("final norm", dtype, 1, s.hidden);
  t.lm_head = architecture.tied ? t.embedding : arena.allocate("lm_head", dtype, s.vocab, s.hidden);
  return t;
}

namespace {

/// The views of a rank's tensors in the tensor table's order.
std::vector<View> views_in_table_order(const ModelTensors& t, const LocalSizes& s, bool tied) {
  // A vector is (1, n) to the operators and (n, 1) to the table.
  const auto column = [](View v) { return View{v.data, v.dtype, v.cols, 1, 1}; };
  std::vector<View> views;
  views.push_back(t.embedding.row_range(0, s.vocab_valid));
  for (const BlockTensors& b : t.blocks) {
    views.push_back(column(b.input_layernorm));
    views.push_back(b.qkv.row_range(0, s.q_cols()));
    views.push_back(b.qkv.row_range(s.q_cols(), s.kv_cols()));
    views.push_back(b.qkv.row_range(s.qk_cols(), s.kv_cols()));
    views.push_back(b.o);
    if (b.q_norm.cols > 0) {
      views.push_back(column(b.q_norm));
      views.push_back(column(b.k_norm));
    }
    views.push_back(column(b.post_attention_layernorm));
    views.push_back(b.gate_up.row_range(0, s.intermediate));
    views.push_back(b.gate_up.row_range(s.intermediate, s.intermediate));
    views.push_back(b.down);
  }
  views.push_back(column(t.final_norm));
  if (!tied) views.push_back(t.lm_head.row_range(0, s.vocab_valid));
  return views;
}

}  // namespace

Weights::Weights(const Architecture& architecture, const parallel::ProcessGrid& grid, DType dtype,
                 device::Arena& weight_arena, device::Arena* gradient_arena)
    : table(tensor_table(architecture)),
      weights(),
      gradients(),
      sizes_(LocalSizes::of(architecture, grid)),
      shape_(grid.shape()),
      tensor_rank_(grid.tensor_rank()) {
  weights = allocate_tensors(architecture, sizes_, dtype, weight_arena);
  if (gradient_arena != nullptr)
    gradients = allocate_tensors(architecture, sizes_, DType::f32, *gradient_arena);
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
    int bucket = spec.layer;
    if (spec.layer < 0)
      bucket =
          static_cast<int>(sizes_.num_layers) + (spec.name == "model.embed_tokens.weight" ? 0 : 1);
    tensors.push_back({.spec = &spec, .weight = w[i], .gradient = g[i], .bucket = bucket});
  }
  return tensors;
}

}  // namespace espalier::model
