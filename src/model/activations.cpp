#include "model/activations.hpp"

#include <algorithm>

#include "base/integers.hpp"
#include "kernels/attention/attention_provider.hpp"

namespace espalier::model {

namespace {

/// Which of a block's buffers are laid out: those that blocks have in common come first.
enum class Which { shared, kept };

/// `shared`: the buffers that blocks have in common because they are not kept, so far; those that
/// this block is the first not to keep are added (Which::shared), or all are there.
BlockActivations allocate_block(const LocalSizes& s, const ActivationShape& shape, DType dtype,
                                std::int64_t layer, Which which, BlockActivations& shared,
                                device::Arena& arena) {
  const std::int64_t tokens = shape.tokens();
  const std::int64_t local = shape.local_tokens();
  const Recompute mode = shape.recompute.of(layer);
  BlockActivations b;
  /// In memory of its own up to the mode `kept_up_to`.
  const auto allocate = [&](const char* name, Recompute kept_up_to,
                            device::View BlockActivations::*view, DType type, std::int64_t rows,
                            std::int64_t cols) {
    if (shape.training && mode <= kept_up_to) {
      if (which == Which::shared) return;
      arena.begin_part(kKeptPart);
      b.*view = arena.allocate(fmt::format("block {} {}", layer, name), type, rows, cols);
      return;
    }
    if (which == Which::shared && !(shared.*view).exists()) {
      arena.begin_part(kSharedPart);
      shared.*view = arena.allocate(fmt::format("every block's {}", name), type, rows, cols);
    }
    b.*view = shared.*view;
  };
  using enum Recompute;
  using B = BlockActivations;
  allocate("x", full, &B::x, dtype, local, s.hidden);
  allocate("norm1 statistics", mlp, &B::norm1, DType::f32, s.norm_rows, local);
  allocate("n1", none, &B::n1, dtype, local, s.hidden);
  allocate("qkv", mlp, &B::qkv, dtype, tokens, s.qkv_cols());
  if (s.rotates)
    allocate("qk", none, &B::qk, dtype, tokens, s.qk_cols());
  else if (which == Which::kept)
    b.qk = b.qkv.col_range(0, s.qk_cols());
  allocate("o", mlp, &B::o, dtype, tokens, s.q_cols());
  allocate("lse", mlp, &B::lse, DType::f32, shape.micro_batch_size * s.num_heads,
           shape.sequence_length);
  allocate("x_mid", mlp, &B::x_mid, dtype, local, s.hidden);
  allocate("norm2 statistics", mlp, &B::norm2, DType::f32, s.norm_rows, local);
  allocate("n2", none, &B::n2, dtype, local, s.hidden);
  allocate("gate_up", selective, &B::gate_up, dtype, tokens, s.gate_up_cols());
  return b;
}

DeferredProducts allocate_deferred(const LocalSizes& s, const ActivationShape& shape, DType dtype,
                                   std::int64_t layer, device::Arena& arena) {
  const std::int64_t tokens = shape.tokens();
  const auto allocate = [&](const char* name, bool needed, std::int64_t cols) {
    return needed ? arena.allocate(fmt::format("block {} {}", layer, name), dtype, tokens, cols)
                  : device::View{};
  };
  const Recompute mode = shape.recompute.of(layer);
  const bool n_is_lost = shape.splits_tokens || mode != Recompute::none;
  return {.attention_dy = allocate("attention dy", true, s.hidden),
          .mlp_dy = allocate("mlp dy", true, s.hidden),
          .mlp_hidden = allocate("mlp hidden", true, s.intermediate),
          .d_qkv = allocate("d_qkv", true, s.qkv_cols()),
          .n1 = allocate("gathered n1", n_is_lost, s.hidden),
          .n2 = allocate("gathered n2", n_is_lost, s.hidden),
          .gate_up = allocate("d_gate_up", mode >= Recompute::mlp, s.gate_up_cols()),
          .o = allocate("kept o", mode == Recompute::full, s.q_cols())};
}

/// `shared`: as of allocate_block, complete.
Slot allocate_slot(const LocalSizes& s, const ActivationShape& shape, DType dtype,
                   const StageExtent& extent, BlockActivations& shared, device::Arena& arena) {
  const std::int64_t tokens = shape.tokens();
  const std::int64_t local = shape.local_tokens();
  Slot slot;
  for (std::int64_t i = 0; i < extent.num_layers; ++i)
    slot.blocks.push_back(
        allocate_block(s, shape, dtype, extent.first + i, Which::kept, shared, arena));
  arena.begin_part(kScratchPart);
  if (extent.has_head || extent.num_layers == 0)
    slot.x_final = arena.allocate("x_final", dtype, local, s.hidden);
  if (extent.has_head) {
    slot.norm_final = arena.allocate("final norm statistics", DType::f32, s.norm_rows, local);
    slot.n_final = arena.allocate("n_final", dtype, local, s.hidden);
  }
  slot.tokens = arena.allocate("tokens", DType::u32, 1, tokens);
  slot.targets = arena.allocate("targets", DType::u32, 1, tokens);
  slot.position_ids = arena.allocate("position_ids", DType::i32, 1, tokens);
  slot.document_start = arena.allocate("document starts", DType::i32, 1, tokens);
  return slot;
}

std::vector<DeferredProducts> allocate_weight_slot(const LocalSizes& s,
                                                   const ActivationShape& shape, DType dtype,
                                                   const StageExtent& extent,
                                                   device::Arena& arena) {
  arena.begin_part(kKeptPart);
  std::vector<DeferredProducts> blocks;
  for (std::int64_t i = 0; i < extent.num_layers; ++i)
    blocks.push_back(allocate_deferred(s, shape, dtype, extent.first + i, arena));
  return blocks;
}

/// allocate(chunk, arena) for every chunk over the same memory, as much as the largest takes.
template <class Allocate>
void allocate_over(std::size_t num_chunks, device::Arena& arena, Allocate&& allocate) {
  std::size_t largest = 0;
  std::int64_t most = -1;
  for (std::size_t chunk = 0; chunk < num_chunks && num_chunks > 1; ++chunk) {
    device::Arena plan = device::Arena::planning(arena.name());
    allocate(chunk, plan);
    if (plan.used_bytes() > most) largest = chunk;
    most = std::max(most, plan.used_bytes());
  }
  const std::int64_t begin = arena.used_bytes();
  allocate(largest, arena);
  for (std::size_t chunk = 0; chunk < num_chunks; ++chunk) {
    device::Arena over = arena.over(begin);
    if (chunk != largest) allocate(chunk, over);
  }
}

kernels::AttentionRequest attention_request(const Activations& a, DType dtype) {
  return {.shape = a.attention,
          .dtype = dtype,
          .compute_capability = a.shape.compute_capability,
          .documents = a.shape.documents};
}

}  // namespace

BlockBytes block_bytes(const LocalSizes& sizes, const ActivationShape& requested, DType dtype,
                       Recompute mode) {
  ActivationShape shape = requested;
  shape.recompute = mode;
  BlockActivations shared;
  device::Arena first = device::Arena::planning("first"), second = device::Arena::planning("next");
  for (device::Arena* arena : {&first, &second}) {
    allocate_block(sizes, shape, dtype, 0, Which::shared, shared, *arena);
    allocate_block(sizes, shape, dtype, 0, Which::kept, shared, *arena);
  }
  device::Arena later = device::Arena::planning("deferred");
  if (shape.training) allocate_deferred(sizes, shape, dtype, 0, later);
  return {.kept = second.used_bytes(),
          .deferred = later.used_bytes(),
          .shared = first.used_bytes() - second.used_bytes()};
}

std::int64_t usual_loss_chunk(const LocalSizes& sizes, DType dtype, bool on_gpu) {
  constexpr std::int64_t kFew = 1024, kMostBytes = std::int64_t{5} << 28;
  if (!on_gpu) return kFew;
  const std::int64_t row_bytes = sizes.vocab * static_cast<std::int64_t>(size_of(dtype));
  return std::max(kFew, kMostBytes / row_bytes / kFew * kFew);
}

Activations::Activations(const LocalSizes& s, const ActivationShape& requested, DType dtype,
                         device::Arena& arena)
    : shape(requested) {
  const std::int64_t num_tokens = shape.tokens();
  const std::int64_t local = shape.local_tokens();
  if (shape.loss_chunk_tokens == 0)
    shape.loss_chunk_tokens = usual_loss_chunk(s, dtype, shape.on_gpu);
  shape.loss_chunk_tokens = std::min(shape.loss_chunk_tokens, num_tokens);
  const std::int64_t chunk = shape.loss_chunk_tokens;

  attention = {.batch = shape.micro_batch_size,
               .query_length = shape.sequence_length,
               .kv_length = shape.sequence_length,
               .num_q_heads = s.num_heads,
               .num_kv_heads = s.num_kv_heads,
               .head_dim = s.head_dim};

  BlockActivations shared;
  for (const StageExtent& asked : shape.chunks) {
    const StageExtent extent = asked.of(s.num_layers);
    chunks.push_back({.extent = extent, .slots = {}, .deferred = {}});
    for (std::int64_t i = 0; i < extent.num_layers; ++i)
      allocate_block(s, shape, dtype, extent.first + i, Which::shared, shared, arena);
    chunks.back().slots.resize(static_cast<std::size_t>(shape.num_slots));
    chunks.back().deferred.resize(static_cast<std::size_t>(shape.num_weight_slots));
  }
  for (std::size_t slot = 0; slot < chunks.front().slots.size(); ++slot)
    allocate_over(chunks.size(), arena, [&](std::size_t c, device::Arena& in) {
      chunks[c].slots[slot] = allocate_slot(s, shape, dtype, chunks[c].extent, shared, in);
    });
  for (std::size_t slot = 0; slot < chunks.front().deferred.size(); ++slot)
    allocate_over(chunks.size(), arena, [&](std::size_t c, device::Arena& in) {
      chunks[c].deferred[slot] = allocate_weight_slot(s, shape, dtype, chunks[c].extent, in);
    });
  arena.begin_part(kMessagePart);
  messages = MessageBuffers(shape.messages, local, s.hidden, dtype, arena);
  arena.begin_part(kScratchPart);
  if (s.rotates) {
    rope.cos = arena.allocate("rope cos", DType::f32, shape.sequence_length, s.head_dim / 2);
    rope.sin = arena.allocate("rope sin", DType::f32, shape.sequence_length, s.head_dim / 2);
  }

  const std::int64_t copied = shape.on_gpu ? shape.micro_batch_size : 0;
  samples = arena.allocate("samples", DType::u32, copied, shape.sequence_length + 1);
  document_positions =
      arena.allocate("document positions", DType::i32, copied, shape.sequence_length + 1);

  const std::int64_t gathered = shape.splits_tokens ? num_tokens : 0;
  gathered_a = arena.allocate("gathered a", dtype, gathered, s.hidden);
  branch = arena.allocate("branch", dtype, num_tokens, s.hidden);
  branch_local = arena.allocate("branch local", dtype, shape.splits_tokens ? local : 0, s.hidden);
  mlp_hidden = arena.allocate("mlp hidden", dtype, num_tokens, s.intermediate);
  arena.begin_part(kLossPart);
  logits = arena.allocate("logits", dtype, chunk, s.vocab);
  statistics = arena.allocate("loss statistics", DType::f32, shape.tensor_size * chunk, 3);
  own_statistics = shape.tensor_size == 1
                       ? statistics
                       : arena.allocate("own loss statistics", DType::f32, chunk, 3);
  token_loss = arena.allocate("token loss", DType::f32, 1, chunk);
  log_sum_exp = arena.allocate("log_sum_exp", DType::f32, 1, chunk);
  loss_sum = arena.allocate("loss sum", DType::f64, 1, 1);
  if (!shape.training) return;

  arena.begin_part(kScratchPart);
  gathered_b = arena.allocate("gathered b", dtype, gathered, s.hidden);
  d_residual = arena.allocate("d_residual", dtype, local, s.hidden);
  d_o = arena.allocate("d_o", dtype, num_tokens, s.q_cols());
  d_qkv = arena.allocate("d_qkv", dtype, num_tokens, s.qkv_cols());
  arena.begin_part(kAttentionPart);
  attention_scratch = arena.allocate(
      "attention scratch", DType::f32, 1,
      shape.on_gpu
          ? kernels::backward_scratch_elements(shape.attention, attention_request(*this, dtype))
          : kernels::attention_backward_scratch_elements(attention));
  arena.begin_part(kScratchPart);
  token_order = arena.allocate("token order", DType::i32, 1, num_tokens);
}

void Activations::require_attention(DType dtype) const {
  if (!shape.on_gpu) return;
  if (shape.training)
    kernels::require_for_training(shape.attention, attention_request(*this, dtype));
  else
    kernels::choose(shape.attention, attention_request(*this, dtype));
}

std::string Activations::describe_attention(DType dtype) const {
  return "attention: " + kernels::describe_choice(shape.attention, attention_request(*this, dtype));
}

}  // namespace espalier::model
