#include "model/decoder.hpp"

#include <algorithm>

#include "kernels/attention/attention_provider.hpp"
#include "kernels/elementwise.hpp"
#include "kernels/embedding/embedding.hpp"
#include "kernels/embedding/positions.hpp"
#include "model/linear.hpp"
#include "model/parts.hpp"

namespace espalier::model {

using device::ConstView;
using device::View;

namespace {
constexpr std::int64_t kPromptChunk = 256;  // tokens of a prompt computed at once
}

Decoder::Decoder(const Architecture& architecture, Weights& weights, DType dtype,
                 std::int64_t max_tokens, device::Context& context,
                 parallel::GridCommunicators& communicators, device::Arena& arena,
                 kernels::AttentionProvider attention, const ExpertChoice& choice)
    : architecture_(architecture),
      sizes_(weights.sizes()),
      weights_(weights),
      dtype_(dtype),
      context_(context),
      comm_(communicators),
      boundary_(*communicators.tensor, /*sequence_parallel=*/false),
      max_tokens_(max_tokens),
      chunk_tokens_(std::min(max_tokens, kPromptChunk)),
      provider_(attention) {
  require_positions(architecture, max_tokens);
  if (const device::Gpu* gpu = context.gpu())
    kernels::choose(attention, {.shape = {.batch = 1,
                                          .query_length = 1,
                                          .kv_length = max_tokens,
                                          .first_query_position = max_tokens - 1,
                                          .num_q_heads = sizes_.num_heads,
                                          .num_kv_heads = sizes_.num_kv_heads,
                                          .head_dim = sizes_.head_dim},
                                .dtype = dtype,
                                .compute_capability = gpu->description().compute_capability});
  const LocalSizes& s = sizes_;
  for (std::int64_t layer = 0; layer < s.num_layers; ++layer)
    cache_.push_back({.k = arena.allocate("k cache", dtype, max_tokens, s.kv_cols()),
                      .v = arena.allocate("v cache", dtype, max_tokens, s.kv_cols())});
  if (s.rotates) {
    rope_.cos = arena.allocate("rope cos", DType::f32, max_tokens, s.head_dim / 2);
    rope_.sin = arena.allocate("rope sin", DType::f32, max_tokens, s.head_dim / 2);
  }
  tokens_ = arena.allocate("tokens", DType::u32, 1, chunk_tokens_);
  positions_ = arena.allocate("positions", DType::i32, 1, chunk_tokens_);
  x_ = arena.allocate("x", dtype, chunk_tokens_, s.hidden);
  n_ = arena.allocate("n", dtype, chunk_tokens_, s.hidden);
  branch_ = arena.allocate("branch", dtype, chunk_tokens_, s.hidden);
  statistics_ = arena.allocate("norm statistics", DType::f32, s.norm_rows, chunk_tokens_);
  qkv_ = arena.allocate("qkv", dtype, chunk_tokens_, s.qkv_cols());
  qk_ = s.rotates ? arena.allocate("qk", dtype, chunk_tokens_, s.qk_cols())
                  : qkv_.col_range(0, s.qk_cols());
  o_ = arena.allocate("o", dtype, chunk_tokens_, s.q_cols());
  lse_ = arena.allocate("lse", DType::f32, s.num_heads, chunk_tokens_);
  gate_up_ = arena.allocate("gate_up", dtype, chunk_tokens_, s.gate_up_cols());
  hidden_ = arena.allocate("mlp hidden", dtype, chunk_tokens_, s.intermediate);
  if (architecture.num_sparse_layers() > 0) allocate_experts(choice, arena);
  logits_ = arena.allocate("logits", dtype, 1, s.vocab);
  local_logits_ = arena.allocate("local logits", DType::f32, 1, s.vocab);
  all_logits_ = arena.allocate("all logits", DType::f32, comm_.tensor->size(), s.vocab);
  if (s.rotates && !arena.is_planning() && !rotates_by_length())
    kernels::fill_rope_table(context_, rope_, s.head_dim, architecture.rope_frequencies());
}

std::span<const float> Decoder::append(std::span<const std::uint32_t> tokens) {
  ESPALIER_ASSERT(
      !tokens.empty() && length_ + static_cast<std::int64_t>(tokens.size()) <= max_tokens_,
      "{} tokens at {} of {}", tokens.size(), length_, max_tokens_);
  if (rotates_by_length()) {
    // As transformers does with a cache: tokens that come together are turned by the frequencies of
    // the length that they reach; those before them stay as they were turned.
    const auto rows = [&](const View& table) {
      return table.row_range(length_, static_cast<std::int64_t>(tokens.size()));
    };
    kernels::fill_rope_table(context_, {.cos = rows(rope_.cos), .sin = rows(rope_.sin)},
                             sizes_.head_dim, architecture_.rope_frequencies(), length_);
  }
  while (!tokens.empty()) {
    const auto count = std::min(tokens.size(), static_cast<std::size_t>(chunk_tokens_));
    append_chunk(tokens.first(count));
    tokens = tokens.subspan(count);
    if (!tokens.empty()) continue;
    head_linear(weights_).forward(context_, logits_,
                                  n_.row_range(static_cast<std::int64_t>(count) - 1, 1));
  }
  kernels::cast(context_, local_logits_, logits_);
  comm_.tensor->all_gather(all_logits_, local_logits_);
  // Only the last ranks have padding, so the first V values are the vocabulary in order.
  host_logits_.resize(static_cast<std::size_t>(all_logits_.size()));
  context_.download(host_logits_.data(), all_logits_);
  return {host_logits_.data(), static_cast<std::size_t>(architecture_.vocab_size)};
}

void Decoder::append_chunk(std::span<const std::uint32_t> tokens) {
  const auto count = static_cast<std::int64_t>(tokens.size());
  position_buffer_.resize(tokens.size());
  for (std::int64_t i = 0; i < count; ++i)
    position_buffer_[static_cast<std::size_t>(i)] = static_cast<std::int32_t>(length_ + i);
  context_.upload(tokens_.col_range(0, count), tokens.data());
  context_.upload(positions_.col_range(0, count), position_buffer_.data());
  const View x = x_.row_range(0, count);
  const View n = n_.row_range(0, count);
  const ModelTensors& w = weights_.weights;
  kernels::embedding_forward(context_, {.tokens = tokens_.col_range(0, count),
                                        .table = w.embedding,
                                        .first_row = sizes_.vocab_first,
                                        .out = x});
  boundary_.leave_forward(context_, x, x);
  if (sizes_.num_positions > 0)
    kernels::positions_forward(
        context_, {.position_ids = position_ids(count), .table = w.position_embedding, .x = x});
  ConstView delta{};
  const auto norm = [&](const NormTensors& weights) {
    norm_forward(context_, architecture_,
                 {.x = x,
                  .delta = delta,
                  .weights = weights,
                  .residual = x,
                  .y = n,
                  .statistics = statistics_.col_range(0, count)});
    delta = branch_.row_range(0, count);
  };
  for (std::size_t layer = 0; layer < cache_.size(); ++layer) {
    norm(w.blocks[layer].input_layernorm);
    attention(layer, count);
    norm(w.blocks[layer].post_attention_layernorm);
    mlp(layer, count);
  }
  norm(w.final_norm);
  length_ += count;
}

bool Decoder::rotates_by_length() const {
  return sizes_.rotates && architecture_.rope_scaling.type == kernels::RopeType::dynamic;
}

ConstView Decoder::position_ids(std::int64_t count) const {
  return positions_.col_range(0, count);
}

void Decoder::attention(std::size_t layer, std::int64_t count) {
  const BlockTensors& w = weights_.weights.blocks[layer];
  const View qkv = qkv_.row_range(0, count);
  const View qk = qk_.row_range(0, count);
  const View o = o_.row_range(0, count);
  block_linear(weights_, layer, &BlockTensors::qkv).forward(context_, qkv, n_.row_range(0, count));
  if (sizes_.rotates)
    kernels::qk_norm_rope_forward(context_, {.qkv = qkv,
                                             .q_weight = w.q_norm,
                                             .k_weight = w.k_norm,
                                             .position_ids = position_ids(count),
                                             .rope = rope_,
                                             .qk = qk,
                                             .num_q_heads = sizes_.num_heads,
                                             .num_kv_heads = sizes_.num_kv_heads,
                                             .head_dim = sizes_.head_dim,
                                             .eps = architecture_.norm_eps});
  const Cache& cache = cache_[layer];
  kernels::cast(context_, cache.k.row_range(length_, count),
                qk.col_range(sizes_.q_cols(), sizes_.kv_cols()));
  kernels::cast(context_, cache.v.row_range(length_, count),
                qkv.col_range(sizes_.qk_cols(), sizes_.kv_cols()));
  kernels::attention_forward(context_, {.shape = {.batch = 1,
                                                  .query_length = count,
                                                  .kv_length = length_ + count,
                                                  .first_query_position = length_,
                                                  .num_q_heads = sizes_.num_heads,
                                                  .num_kv_heads = sizes_.num_kv_heads,
                                                  .head_dim = sizes_.head_dim},
                                        .q = qk.col_range(0, sizes_.q_cols()),
                                        .k = cache.k.row_range(0, length_ + count),
                                        .v = cache.v.row_range(0, length_ + count),
                                        .o = o,
                                        .lse = lse_.col_range(0, count),
                                        .provider = provider_});
  const View branch = branch_.row_range(0, count);
  block_linear(weights_, layer, &BlockTensors::o)
      .forward(context_, branch, o, comm_.tensor->rank() == 0);
  boundary_.leave_forward(context_, branch, branch);
}

void Decoder::allocate_experts(const ExpertChoice& choice, device::Arena& arena) {
  const LocalSizes& s = sizes_;
  // So many rows that no further round is needed.
  const ExpertOptions options{.has_bias = !choice.bias.empty(),
                              .rounds_logits = choice.rounds_logits,
                              .capacity_factor = static_cast<double>(s.num_experts)};
  const ExpertSizes n = ExpertSizes::of(s, chunk_tokens_, options.capacity_factor);
  expert_scratch_ = allocate_expert_scratch(
      s, {.local_tokens = chunk_tokens_, .num_sequences = 1, .training = false, .options = options},
      dtype_, arena);
  const std::int64_t E = s.num_experts, k = s.experts_per_token;
  routed_ = {
      .probabilities = arena.allocate("probabilities", DType::f32, chunk_tokens_, E),
      .log_sum_exp = arena.allocate("router's log_sum_exp", DType::f32, 1, chunk_tokens_),
      .chosen = arena.allocate("chosen experts", DType::i32, chunk_tokens_, k),
      .weights = arena.allocate("experts' weights", DType::f32, chunk_tokens_, k),
      .order = arena.allocate("order of pairs", DType::i32, 1, n.pairs),
      .place = arena.allocate("place of pairs", DType::i32, chunk_tokens_, k),
      .rows = arena.allocate("experts' rows", dtype_, n.capacity, s.hidden),
      .gate_up = arena.allocate("experts' gate_up", dtype_, n.capacity, 2 * s.expert_intermediate)};
  if (options.has_bias) {
    const std::int64_t blocks = architecture_.num_sparse_layers();
    ESPALIER_ASSERT(std::ssize(choice.bias) == blocks * E, "a bias of {} experts",
                    choice.bias.size());
    expert_bias_ = arena.allocate("experts' bias", DType::f32, blocks, E);
    if (!arena.is_planning()) context_.upload(expert_bias_, choice.bias.data());
  }
  experts_ = std::make_unique<Experts>(Experts::Place{.architecture = architecture_,
                                                      .sizes = sizes_,
                                                      .options = options,
                                                      .capacity = n.capacity,
                                                      .scratch = expert_scratch_,
                                                      .bias = expert_bias_,
                                                      .context = context_,
                                                      .communicators = comm_});
}

void Decoder::experts(std::size_t layer, std::int64_t count) {
  const ExpertActivations& all = routed_;
  const ExpertActivations kept{.probabilities = all.probabilities.row_range(0, count),
                               .log_sum_exp = all.log_sum_exp.col_range(0, count),
                               .chosen = all.chosen.row_range(0, count),
                               .weights = all.weights.row_range(0, count),
                               .order = all.order.col_range(0, count * sizes_.experts_per_token),
                               .place = all.place.row_range(0, count),
                               .rows = all.rows,
                               .gate_up = all.gate_up};
  experts_->forward({.number = sizes_.sparse_index(static_cast<std::int64_t>(layer)),
                     .weights = weights_.weights.blocks[layer],
                     .gradients = nullptr,
                     .kept = kept,
                     .counts = expert_counts_},
                    n_.row_range(0, count), branch_.row_range(0, count));
}

void Decoder::mlp(std::size_t layer, std::int64_t count) {
  if (sizes_.is_sparse(static_cast<std::int64_t>(layer))) return experts(layer, count);
  const View gate_up = gate_up_.row_range(0, count);
  const View hidden = hidden_.row_range(0, count);
  const View branch = branch_.row_range(0, count);
  block_linear(weights_, layer, &BlockTensors::gate_up)
      .forward(context_, gate_up, n_.row_range(0, count));
  activation_forward(context_, architecture_.mlp, gate_up, hidden);
  block_linear(weights_, layer, &BlockTensors::down)
      .forward(context_, branch, hidden, comm_.tensor->rank() == 0);
  boundary_.leave_forward(context_, branch, branch);
}

}  // namespace espalier::model
