// A warp per token: a lane has every kWarpSize-th expert, whose numbers stay in its registers.
#include "kernels/moe/router.hpp"

#include "kernels/backends.hpp"
#include "kernels/cuda/row_sums.hpp"
#include "kernels/cuda/threads.hpp"
#include "kernels/cuda/tiling.hpp"
#include "kernels/dispatch.hpp"
#include "kernels/moe/router_shapes.hpp"

namespace espalier::kernels::ESPALIER_GPU {
namespace {

constexpr int kRouterThreads = 256;
constexpr int kTokensOfBlock = kRouterThreads / kWarpSize;
/// Registers that hold the slots of a token, a slot per lane and register.
constexpr int kSlotRegisters = static_cast<int>(kMaxExpertsPerToken) / kWarpSize;

/// The block's token of this warp.
ESPALIER_DEVICE std::int64_t token_of_warp() {
  return block_index() * kTokensOfBlock + warp();
}

/// value(i, expert) for the lane's experts below num_experts.
template <int kPerLane, class Body>
ESPALIER_DEVICE void for_own_experts(int num_experts, Body&& body) {
#pragma unroll
  for (int i = 0; i < kPerLane; ++i) {
    const int expert = i * kWarpSize + lane();
    if (expert < num_experts) body(i, expert);
  }
}

struct Best {
  float score;
  int expert;
};
/// The better of two: the larger score, of equals the lower expert.
ESPALIER_DEVICE Best better(const Best& a, const Best& b) {
  return b.score > a.score || (b.score == a.score && b.expert < a.expert) ? b : a;
}

struct Forward {
  Rows<const float> logits;
  const float* bias;  ///< null: none
  Rows<float> probabilities;
  float* log_sum_exp;
  Rows<std::int32_t> experts;
  Rows<float> weights;
  std::int64_t num_tokens;
  int num_experts, k;
  bool normalize;
};

template <int kPerLane>
ESPALIER_KERNEL(kRouterThreads)
choose_experts(Forward a) {
  constexpr int kNone = kPerLane * kWarpSize;
  const std::int64_t t = token_of_warp();
  if (t >= a.num_tokens) return;
  float p[kPerLane];
  float maximum = -INFINITY;
  for_own_experts<kPerLane>(a.num_experts, [&](int i, int e) {
    p[i] = read_element(a.logits.row(t) + e);
    maximum = fmaxf(maximum, p[i]);
  });
  maximum = warp_max(maximum);
  float sum = 0.0f;
  for_own_experts<kPerLane>(a.num_experts, [&](int i, int) {
    p[i] = expf(p[i] - maximum);
    sum += p[i];
  });
  sum = warp_sum(sum);
  const float factor = 1.0f / sum;
  float score[kPerLane];
  for_own_experts<kPerLane>(a.num_experts, [&](int i, int e) {
    p[i] *= factor;
    write_element(a.probabilities.row(t) + e, p[i]);
    score[i] = a.bias != nullptr ? p[i] + read_element(a.bias + e) : p[i];
    // Chosen last, but chosen: k experts there must be.
    if (!(score[i] == score[i])) score[i] = -INFINITY;
  });
  if (lane() == 0) write_element(a.log_sum_exp + t, logf(sum) + maximum);

  std::int32_t chosen[kSlotRegisters] = {};
  float weight[kSlotRegisters] = {};
  float total = 0.0f;
  std::uint32_t taken = 0;
  for (int slot = 0; slot < a.k; ++slot) {
    Best best{-INFINITY, kNone};
    for_own_experts<kPerLane>(a.num_experts, [&](int i, int e) {
      if ((taken >> i & 1u) == 0) best = better(best, {score[i], e});
    });
    for (int mask = kWarpSize / 2; mask > 0; mask /= 2)
      best = better(best, {shuffle_xor(best.score, mask), shuffle_xor(best.expert, mask)});
    float probability = 0.0f;
    for_own_experts<kPerLane>(a.num_experts, [&](int i, int e) {
      if (e != best.expert) return;
      taken |= 1u << i;
      probability = p[i];
    });
    probability = shuffle(probability, best.expert % kWarpSize);
    total += probability;
#pragma unroll
    for (int r = 0; r < kSlotRegisters; ++r)
      if (slot == r * kWarpSize + lane()) {
        chosen[r] = best.expert;
        weight[r] = probability;
      }
  }
#pragma unroll
  for (int r = 0; r < kSlotRegisters; ++r) {
    const int slot = r * kWarpSize + lane();
    if (slot >= a.k) continue;
    write_element(a.experts.row(t) + slot, chosen[r]);
    write_element(a.weights.row(t) + slot, a.normalize ? weight[r] / total : weight[r]);
  }
}

/// The counts of a token's sequence.
struct Counts {
  Rows<const float> rows;  ///< data == nullptr: none
  TokenPlace place;
  bool single;  ///< one row for all tokens

  ESPALIER_DEVICE const float* of(std::int64_t t) const {
    return rows.row(single ? 0 : (place.first_token + t) / place.tokens_per_sequence);
  }
};
Counts counts_of(const device::ConstView& counts, const TokenPlace& place) {
  return {counts.exists() ? rows_of<float>(counts) : Rows<const float>{nullptr, 0}, place,
          counts.rows == 1};
}

template <class T>
struct Backward {
  Rows<const float> probabilities;
  const float* log_sum_exp;
  Rows<const std::int32_t> experts;
  Rows<const float> weights, d_weights;
  Counts counts;
  Rows<T> d_logits;
  std::int64_t num_tokens;
  float balance_scale, z_scale;
  int num_experts, k;
  bool normalize;
};

/// All of a row is read before any of it is written: d_logits may alias probabilities.
template <class T, int kPerLane>
ESPALIER_KERNEL(kRouterThreads)
router_gradient(Backward<T> a) {
  const std::int64_t t = token_of_warp();
  if (t >= a.num_tokens) return;
  std::int32_t chosen[kSlotRegisters];
  float weight[kSlotRegisters], d_weight[kSlotRegisters];
  float mean = 0.0f;  // <w, d_weights>, or <p, s>
#pragma unroll
  for (int r = 0; r < kSlotRegisters; ++r) {
    const int slot = r * kWarpSize + lane();
    const bool there = slot < a.k;
    chosen[r] = there ? read_element(a.experts.row(t) + slot) : -1;
    weight[r] = there ? read_element(a.weights.row(t) + slot) : 0.0f;
    d_weight[r] = there ? read_element(a.d_weights.row(t) + slot) : 0.0f;
    mean += weight[r] * d_weight[r];
  }
  mean = warp_sum(mean);
#pragma unroll
  for (int r = 0; r < kSlotRegisters; ++r)
    d_weight[r] = weight[r] * (a.normalize ? d_weight[r] - mean : d_weight[r]);

  float p[kPerLane], n[kPerLane];
  for_own_experts<kPerLane>(a.num_experts, [&](int i, int e) {
    p[i] = read_element(a.probabilities.row(t) + e);
    n[i] = 0.0f;
  });
  float products = 0.0f;
  const bool counted = a.counts.rows.data != nullptr;
  if (counted) {
    const float* counts = a.counts.of(t);
    for_own_experts<kPerLane>(a.num_experts, [&](int i, int e) {
      n[i] = read_element(counts + e);
      products += p[i] * n[i];
    });
  }
  const float balance = counted ? a.balance_scale : 0.0f;
  const float common = a.z_scale * read_element(a.log_sum_exp + t) - balance * warp_sum(products) -
                       (a.normalize ? 0.0f : mean);
  for_own_experts<kPerLane>(a.num_experts, [&](int i, int) { p[i] *= common + balance * n[i]; });
  // A register at a time, because registers have no index.
#pragma unroll
  for (int r = 0; r < kSlotRegisters; ++r) {
    const int num_slots = a.k - r * kWarpSize < kWarpSize ? a.k - r * kWarpSize : kWarpSize;
    for (int from = 0; from < num_slots; ++from) {
      const std::int32_t expert = shuffle(chosen[r], from);
      const float gradient = shuffle(d_weight[r], from);
#pragma unroll
      for (int i = 0; i < kPerLane; ++i)
        if (i * kWarpSize + lane() == expert) p[i] += gradient;
    }
  }
  for_own_experts<kPerLane>(a.num_experts, [&](int i, int e) {
    write_element(a.d_logits.row(t) + e, from_float<T>(p[i]));
  });
}

struct Losses {
  Rows<const float> probabilities;
  const float* log_sum_exp;
  Counts counts;
  RowSlices slices;
  double* partials;  ///< (slices, 2)
  double balance_scale, z_scale;
  int num_experts;
};

/// A block per slice of tokens, a warp per token of it.
ESPALIER_KERNEL(kRouterThreads)
losses_of_slice(Losses a) {
  SharedAllocator shared;
  const auto balances = shared.take<double>(kMaxWarps);
  const auto squares = shared.take<double>(kMaxWarps);
  const std::int64_t first = block_index() * a.slices.rows_per_slice;
  const std::int64_t after = first + a.slices.rows_per_slice;
  const std::int64_t last = after < a.slices.num_rows ? after : a.slices.num_rows;
  double balance = 0.0, square = 0.0;
  for (std::int64_t t = first + warp(); t < last; t += num_warps()) {
    if (a.counts.rows.data != nullptr) {
      const float* counts = a.counts.of(t);
      for (int e = lane(); e < a.num_experts; e += kWarpSize)
        balance += static_cast<double>(read_element(a.probabilities.row(t) + e)) *
                   static_cast<double>(read_element(counts + e));
    }
    if (lane() > 0) continue;
    const double lse = static_cast<double>(read_element(a.log_sum_exp + t));
    square += lse * lse;
  }
  balance = block_sum(balance, balances);
  square = block_sum(square, squares);
  if (thread_index() > 0) return;
  write_element(a.partials + 2 * block_index(), balance);
  write_element(a.partials + 2 * block_index() + 1, square);
}

/// Thread i adds slices i, i + kRouterThreads, ...; then the threads' sums are added.
ESPALIER_KERNEL(kRouterThreads)
add_up_losses(double* sums, Losses a) {
  SharedAllocator shared;
  const auto balances = shared.take<double>(kMaxWarps);
  const auto squares = shared.take<double>(kMaxWarps);
  double balance = 0.0, square = 0.0;
  for (std::int64_t i = thread_index(); i < a.slices.num_slices; i += num_threads()) {
    balance += read_element(a.partials + 2 * i);
    square += read_element(a.partials + 2 * i + 1);
  }
  balance = block_sum(balance, balances);
  square = block_sum(square, squares);
  if (thread_index() > 0) return;
  if (a.counts.rows.data != nullptr)
    write_element(sums, read_element(sums) + a.balance_scale * balance);
  write_element(sums + 1, read_element(sums + 1) + 0.5 * a.z_scale * square);
}

/// body(Columns<n>{}) with room for n experts of a lane.
template <class Body>
void with_experts_per_lane(std::int64_t num_experts, Body&& body) {
  const std::int64_t per_lane = div_ceil(num_experts, kWarpSize);
  require(per_lane <= 32, ExitStatus::bad_configuration,
          "num_experts = {}: the router's kernels for GPUs are made for at most {}", num_experts,
          32 * kWarpSize);
  if (per_lane <= 4) return body(Columns<4>{});
  if (per_lane <= 16) return body(Columns<16>{});
  body(Columns<32>{});
}

LaunchShape token_blocks(std::int64_t num_tokens) {
  return {.num_blocks = div_ceil(num_tokens, kTokensOfBlock), .block_threads = kRouterThreads};
}

}  // namespace

void router_forward(const Queue& queue, const RouterForward& a) {
  check_shapes(a);
  with_experts_per_lane(a.logits.cols, [&]<int kPerLane>(Columns<kPerLane>) {
    launch(choose_experts<kPerLane>, token_blocks(a.logits.rows), queue,
           {.logits = rows_of<float>(a.logits),
            .bias = a.bias.exists() ? a.bias.as<float>() : nullptr,
            .probabilities = rows_of<float>(a.probabilities),
            .log_sum_exp = a.log_sum_exp.as<float>(),
            .experts = rows_of<std::int32_t>(a.experts),
            .weights = rows_of<float>(a.weights),
            .num_tokens = a.logits.rows,
            .num_experts = narrow<int>(a.logits.cols),
            .k = narrow<int>(a.experts.cols),
            .normalize = a.normalize});
  });
}

void router_backward(const Queue& queue, const RouterBackward& a) {
  check_shapes(a);
  dispatch(a.d_logits.dtype, [&]<class T>(T) {
    with_experts_per_lane(a.probabilities.cols, [&]<int kPerLane>(Columns<kPerLane>) {
      launch(router_gradient<T, kPerLane>, token_blocks(a.probabilities.rows), queue,
             {.probabilities = rows_of<float>(a.probabilities),
              .log_sum_exp = a.log_sum_exp.as<float>(),
              .experts = rows_of<std::int32_t>(a.experts),
              .weights = rows_of<float>(a.weights),
              .d_weights = rows_of<float>(a.d_weights),
              .counts = counts_of(a.counts, a.place),
              .d_logits = rows_of<T>(a.d_logits),
              .num_tokens = a.probabilities.rows,
              .balance_scale = a.balance_scale,
              .z_scale = a.z_scale,
              .num_experts = narrow<int>(a.probabilities.cols),
              .k = narrow<int>(a.experts.cols),
              .normalize = a.normalize});
    });
  });
}

void balance_loss(const Queue& queue, const BalanceLoss& a) {
  check_shapes(a);
  const RowSlices slices(a.probabilities.rows);
  const Losses losses{.probabilities = rows_of<float>(a.probabilities),
                      .log_sum_exp = a.log_sum_exp.as<float>(),
                      .counts = counts_of(a.counts, a.place),
                      .slices = slices,
                      .partials = workspace<double>(queue, 2 * slices.num_slices),
                      .balance_scale = double{a.balance_scale},
                      .z_scale = double{a.z_scale},
                      .num_experts = narrow<int>(a.probabilities.cols)};
  constexpr std::int64_t kShared = 2 * shared_bytes<double>(kMaxWarps);
  launch(losses_of_slice, {slices.num_slices, kRouterThreads, kShared}, queue, losses);
  launch(add_up_losses, {1, kRouterThreads, kShared}, queue, a.sums.as<double>(), losses);
}

}  // namespace espalier::kernels::ESPALIER_GPU
