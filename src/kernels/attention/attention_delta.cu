// delta = rowsum(dO * O) of attention's gradients (Dao et al. 2022), for the providers that work on
// tensor cores.
#include "kernels/cuda/attention_providers.hpp"
#include "kernels/cuda/heads.hpp"
#include "kernels/cuda/pack.hpp"
#include "kernels/cuda/threads.hpp"
#include "kernels/cuda/tiling.hpp"

namespace espalier::kernels::ESPALIER_GPU {
namespace {

constexpr int kDeltaThreads = 128;

struct Delta {
  Heads<const bf16> o, d_o;
  float* delta;  ///< (B * A_loc, S)
  int batch, num_q_heads, length;
};

/// A warp per head row.
template <int kHeadDim>
ESPALIER_KERNEL(kDeltaThreads)
delta_of_rows(Delta a) {
  constexpr int kCount = kHeadDim / kWarpSize;
  const std::int64_t index = block_index() * num_warps() + warp();
  const std::int64_t num_rows = static_cast<std::int64_t>(a.batch) * a.length * a.num_q_heads;
  if (index >= num_rows) return;
  const std::int64_t row = index / a.num_q_heads;
  const int h = static_cast<int>(index - row * a.num_q_heads);
  const std::int64_t col = static_cast<std::int64_t>(h) * kHeadDim + lane() * kCount;
  const auto o = load(a.o.data + row * a.o.stride + col, Columns<kCount>{});
  const auto d_o = load(a.d_o.data + row * a.d_o.stride + col, Columns<kCount>{});
  const float delta = warp_sum(sum_of(o * d_o));
  const std::int64_t b = row / a.length;
  if (lane() == 0)
    write_element(a.delta + (b * a.num_q_heads + h) * a.length + row - b * a.length, delta);
}

}  // namespace

void attention_delta(const Queue& queue, const AttentionBackward& a) {
  const AttentionShape& s = a.shape;
  const Delta arguments{.o = heads_of<bf16>(a.o),
                        .d_o = heads_of<bf16>(a.d_o),
                        .delta = a.scratch.as<float>(),
                        .batch = narrow<int>(s.batch),
                        .num_q_heads = narrow<int>(s.num_q_heads),
                        .length = narrow<int>(s.query_length)};
  constexpr std::int64_t kWarps = kDeltaThreads / kWarpSize;
  const LaunchShape shape{div_ceil(s.batch * s.query_length * s.num_q_heads, kWarps),
                          kDeltaThreads};
  if (s.head_dim == 64)
    launch(delta_of_rows<64>, shape, queue, arguments);
  else
    launch(delta_of_rows<128>, shape, queue, arguments);
}

}  // namespace espalier::kernels::ESPALIER_GPU
