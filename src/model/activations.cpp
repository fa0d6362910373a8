#include "model/activations.hpp"

#include <algorithm>
#include <numeric>

#include "base/integers.hpp"
#include "kernels/attention/attention_provider.hpp"

namespace espalier::model {

namespace {

/// Which of a block's buffers are laid out: those that blocks have in common come first.
enum class Which { shared, kept };

/// Makes buffers of a block, in memory of their own or in common with other blocks.
template <class Buffers>
struct BlockAllocator {
  const ActivationShape& shape;
  std::int64_t layer;
  Which which;
  Buffers& own;
  Buffers& shared;
  device::Arena& arena;

  /// In memory of its own up to the mode `kept_up_to`.
  void operator()(const char* name, Recompute kept_up_to, device::View Buffers::*view, DType type,
                  std::int64_t rows, std::int64_t cols) const {
    if (shape.training && shape.recompute.of(layer) <= kept_up_to) {
      if (which == Which::shared) return;
      arena.begin_part(kKeptPart);
      own.*view = arena.allocate(fmt::format("block {} {}", layer, name), type, rows, cols);
      return;
    }
    if (which == Which::shared && !(shared.*view).exists()) {
      arena.begin_part(kSharedPart);
      shared.*view = arena.allocate(fmt::format("every block's {}", name), type, rows, cols);
    }
    own.*view = shared.*view;
  }
};

ExpertSizes expert_sizes(const LocalSizes& s, const ActivationShape& shape) {
  return ExpertSizes::of(s, shape.local_tokens(), shape.experts.capacity_factor);
}

void allocate_experts(const LocalSizes& s, const ActivationShape& shape, DType dtype,
                      const BlockAllocator<ExpertActivations>& allocate) {
  using enum Recompute;
  using E = ExpertActivations;
  const ExpertSizes n = expert_sizes(s, shape);
  const std::int64_t tokens = shape.local_tokens(), k = s.experts_per_token;
  allocate("probabilities", full, &E::probabilities, DType::f32, tokens, s.num_experts);
  allocate("router's log_sum_exp", full, &E::log_sum_exp, DType::f32, 1, tokens);
  allocate("chosen experts", full, &E::chosen, DType::i32, tokens, k);
  allocate("experts' weights", full, &E::weights, DType::f32, tokens, k);
  allocate("order of pairs", full, &E::order, DType::i32, 1, n.pairs);
  allocate("place of pairs", full, &E::place, DType::i32, tokens, k);
  allocate("experts' rows", expert_rows_kept_up_to(s), &E::rows, dtype, n.capacity, s.hidden);
  allocate("experts' gate_up", selective, &E::gate_up, dtype, n.capacity,
           2 * s.expert_intermediate);
}

/// `shared`: the buffers that blocks have in common because they are not kept, so far; those that
/// this block is the first not to keep are added (Which::shared), or all are there.
BlockActivations allocate_block(const LocalSizes& s, const ActivationShape& shape, DType dtype,
                                std::int64_t layer, Which which, BlockActivations& shared,
                                device::Arena& arena) {
  const std::int64_t tokens = shape.tokens();
  const std::int64_t local = shape.local_tokens();
  BlockActivations b;
  const BlockAllocator<BlockActivations> allocate{shape, layer, which, b, shared, arena};
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
           shape.local_length());
  allocate("x_mid", mlp, &B::x_mid, dtype, local, s.hidden);
  allocate("norm2 statistics", mlp, &B::norm2, DType::f32, s.norm_rows, local);
  allocate("n2", none, &B::n2, dtype, local, s.hidden);
  if (s.is_sparse(layer))
    allocate_experts(s, shape, dtype, {shape, layer, which, b.experts, shared.experts, arena});
  else
    allocate("gate_up", selective, &B::gate_up, dtype, tokens, s.gate_up_cols());
  return b;
}

DeferredExperts allocate_deferred_experts(const LocalSizes& s, const ActivationShape& shape,
                                          DType dtype, std::int64_t layer, device::Arena& arena) {
  const auto allocate = [&](const char* name, bool needed, std::int64_t rows, std::int64_t cols) {
    return needed
               ? arena.allocate(fmt::format("block {} experts' {}", layer, name), dtype, rows, cols)
               : device::View{};
  };
  const Recompute mode = shape.recompute.of(layer);
  const ExpertSizes n = expert_sizes(s, shape);
  const std::int64_t tokens = shape.local_tokens(), C = n.capacity, Fe = s.expert_intermediate;
  return {.n2 = allocate("kept n2", mode != Recompute::none, tokens, s.hidden),
          .d_branch = allocate("d_branch", n.may_take_rounds(), tokens, s.hidden),
          .rows = allocate("kept rows", !keeps_expert_rows(s, mode), C, s.hidden),
          .dy = allocate("dy", true, C, s.hidden),
          .hidden = allocate("kept hidden", true, C, Fe),
          .gate_up = allocate("d_gate_up", mode >= Recompute::mlp, C, 2 * Fe),
          .d_logits = allocate("d_logits", true, tokens, s.num_experts)};
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
  const bool dense = !s.is_sparse(layer);
  return {.attention_dy = allocate("attention dy", true, s.hidden),
          .mlp_dy = allocate("mlp dy", dense, s.hidden),
          .mlp_hidden = allocate("mlp hidden", dense, s.intermediate),
          .d_qkv = allocate("d_qkv", true, s.qkv_cols()),
          .n1 = allocate("gathered n1", n_is_lost, s.hidden),
          .n2 = allocate("gathered n2", dense && n_is_lost, s.hidden),
          .gate_up = allocate("d_gate_up", dense && mode >= Recompute::mlp, s.gate_up_cols()),
          .o = allocate("kept o", mode == Recompute::full, s.q_cols()),
          .experts =
              dense ? DeferredExperts{} : allocate_deferred_experts(s, shape, dtype, layer, arena)};
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
  if (shape.context_size > 1) slot.context = ContextInputs(context_blocks(shape), arena);
  return slot;
}

/// Whether some block of a rank's stages has experts, or has none.
bool any_block(const LocalSizes& s, const std::vector<ChunkActivations>& chunks, bool is_sparse) {
  return std::any_of(chunks.begin(), chunks.end(), [&](const ChunkActivations& chunk) {
    const auto first = s.sparse_layers.begin() + chunk.extent.first;
    return std::count(first, first + chunk.extent.num_layers, is_sparse) > 0;
  });
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
                       Recompute mode, std::int64_t layer) {
  ActivationShape shape = requested;
  shape.recompute = mode;
  BlockActivations shared;
  device::Arena of_all = device::Arena::planning("shared"), own = device::Arena::planning("kept");
  device::Arena later = device::Arena::planning("deferred");
  for (std::int64_t any = 0; any < sizes.num_layers; ++any)
    allocate_block(sizes, shape, dtype, any, Which::shared, shared, of_all);
  allocate_block(sizes, shape, dtype, layer, Which::kept, shared, own);
  if (shape.training) allocate_deferred(sizes, shape, dtype, layer, later);
  return {.kept = own.used_bytes(), .deferred = later.used_bytes(), .shared = of_all.used_bytes()};
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
  const std::int64_t loss_rows = shape.loss_chunk_tokens;

  attention = {.batch = shape.micro_batch_size,
               .query_length = shape.local_length(),
               .kv_length = shape.sequence_length,
               .num_q_heads = s.num_heads,
               .num_kv_heads = s.num_kv_heads,
               .head_dim = s.head_dim};
  if (shape.context_size > 1) {
    attention.block_length = context_blocks(shape).block_length;
    ESPALIER_ASSERT(attention.block_length > 0, "sequences of {} over {} context ranks",
                    shape.sequence_length, shape.context_size);
    std::int64_t& heads = shape.kv_heads_at_a_time;
    if (heads == 0) heads = usual_kv_heads(s, shape, dtype);
    heads = std::gcd(heads, s.num_kv_heads);
    attention.num_q_heads = heads * (s.num_heads / s.num_kv_heads);
    attention.num_kv_heads = heads;
  }

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
  if (any_block(s, chunks, /*is_sparse=*/false))
    mlp_hidden = arena.allocate("mlp hidden", dtype, num_tokens, s.intermediate);
  if (shape.context_size > 1) {
    arena.begin_part(kContextPart);
    context = ContextScratch(s, shape, dtype, arena);
  }
  arena.begin_part(kExpertsPart);
  if (any_block(s, chunks, /*is_sparse=*/true))
    experts = allocate_expert_scratch(s,
                                      {.local_tokens = local,
                                       .num_sequences = shape.micro_batch_size,
                                       .training = shape.training,
                                       .options = shape.experts},
                                      dtype, arena);
  if (shape.experts.has_bias)
    expert_bias = arena.allocate("experts' bias", DType::f32, s.num_sparse_layers(), s.num_experts);
  arena.begin_part(kLossPart);
  logits = arena.allocate("logits", dtype, loss_rows, s.vocab);
  statistics = arena.allocate("loss statistics", DType::f32, shape.tensor_size * loss_rows, 3);
  own_statistics = shape.tensor_size == 1
                       ? statistics
                       : arena.allocate("own loss statistics", DType::f32, loss_rows, 3);
  token_loss = arena.allocate("token loss", DType::f32, 1, loss_rows);
  log_sum_exp = arena.allocate("log_sum_exp", DType::f32, 1, loss_rows);
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
