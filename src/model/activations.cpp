#include "model/activations.hpp"

#include <algorithm>

#include "base/integers.hpp"

namespace espalier::model {

namespace {

BlockActivations allocate_block(const LocalSizes& s, const ActivationShape& shape, DType dtype,
                                std::int64_t layer, device::Arena& arena) {
  const std::int64_t tokens = shape.tokens();
  const std::int64_t local = shape.local_tokens();
  const auto allocate = [&](const char* name, DType type, std::int64_t rows, std::int64_t cols) {
    return arena.allocate(fmt::format("block {} {}", layer, name), type, rows, cols);
  };
  BlockActivations b;
  b.x = allocate("x", dtype, local, s.hidden);
  b.norm1 = allocate("norm1 statistics", DType::f32, s.norm_rows, local);
  b.n1 = allocate("n1", dtype, local, s.hidden);
  b.qkv = allocate("qkv", dtype, tokens, s.qkv_cols());
  b.qk = s.rotates ? allocate("qk", dtype, tokens, s.qk_cols()) : b.qkv.col_range(0, s.qk_cols());
  b.o = allocate("o", dtype, tokens, s.q_cols());
  b.lse = allocate("lse", DType::f32, shape.micro_batch_size * s.num_heads, shape.sequence_length);
  b.x_mid = allocate("x_mid", dtype, local, s.hidden);
  b.norm2 = allocate("norm2 statistics", DType::f32, s.norm_rows, local);
  b.n2 = allocate("n2", dtype, local, s.hidden);
  b.gate_up = allocate("gate_up", dtype, tokens, s.gate_up_cols());
  return b;
}

}  // namespace

Activations::Activations(const LocalSizes& s, const ActivationShape& requested, DType dtype,
                         device::Arena& arena)
    : shape(requested) {
  const std::int64_t num_tokens = shape.tokens();
  const std::int64_t local = shape.local_tokens();
  shape.loss_chunk_tokens = std::min(shape.loss_chunk_tokens, num_tokens);
  const std::int64_t chunk = shape.loss_chunk_tokens;

  attention = {.batch = shape.micro_batch_size,
               .query_length = shape.sequence_length,
               .kv_length = shape.sequence_length,
               .num_q_heads = s.num_heads,
               .num_kv_heads = s.num_kv_heads,
               .head_dim = s.head_dim};

  for (std::int64_t layer = 0; layer < s.num_layers; ++layer)
    blocks.push_back(layer == 0 || shape.training ? allocate_block(s, shape, dtype, layer, arena)
                                                  : blocks.front());
  x_final = arena.allocate("x_final", dtype, local, s.hidden);
  norm_final = arena.allocate("final norm statistics", DType::f32, s.norm_rows, local);
  n_final = arena.allocate("n_final", dtype, local, s.hidden);
  if (s.rotates) {
    rope.cos = arena.allocate("rope cos", DType::f32, shape.sequence_length, s.head_dim / 2);
    rope.sin = arena.allocate("rope sin", DType::f32, shape.sequence_length, s.head_dim / 2);
  }

  const std::int64_t copied = shape.on_gpu ? num_tokens : 0;
  tokens = arena.allocate("tokens", DType::u32, 1, copied);
  targets = arena.allocate("targets", DType::u32, 1, copied);
  positions = arena.allocate("positions", DType::i32, 1, copied);
  first_keys = arena.allocate("first keys", DType::i32, 1, copied);

  const std::int64_t gathered = shape.splits_tokens ? num_tokens : 0;
  gathered_a = arena.allocate("gathered a", dtype, gathered, s.hidden);
  branch = arena.allocate("branch", dtype, num_tokens, s.hidden);
  branch_local = arena.allocate("branch local", dtype, shape.splits_tokens ? local : 0, s.hidden);
  mlp_hidden = arena.allocate("mlp hidden", dtype, num_tokens, s.intermediate);
  logits = arena.allocate("logits", dtype, chunk, s.vocab);
  statistics = arena.allocate("loss statistics", DType::f32, shape.tensor_size * chunk, 3);
  token_loss = arena.allocate("token loss", DType::f32, 1, chunk);
  log_sum_exp = arena.allocate("log_sum_exp", DType::f32, 1, chunk);
  loss_sum = arena.allocate("loss sum", DType::f64, 1, 1);
  if (!shape.training) return;

  gathered_b = arena.allocate("gathered b", dtype, gathered, s.hidden);
  d_residual = arena.allocate("d_residual", dtype, local, s.hidden);
  d_o = arena.allocate("d_o", dtype, num_tokens, s.q_cols());
  d_qkv = arena.allocate("d_qkv", dtype, num_tokens, s.qkv_cols());
  attention_scratch = arena.allocate("attention scratch", DType::f32, 1,
                                     kernels::attention_backward_scratch_elements(attention));
  token_order = arena.allocate("token order", DType::i32, 1, num_tokens);
}

}  // namespace espalier::model
