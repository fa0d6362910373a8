#include "kernels/cuda/row_sums.hpp"

#include "kernels/backends.hpp"
#include "kernels/cuda/scatter_rows.hpp"
#include "kernels/cuda/threads.hpp"
#include "kernels/cuda/tiling.hpp"
#include "kernels/elementwise.hpp"

namespace espalier::kernels::ESPALIER_GPU {
namespace {

/// Warps that share the slices of one column.
constexpr int kGroups = 8;
constexpr int kSumThreads = kGroups * kWarpSize;

/// A block owns kWarpSize columns. Warp w adds slices w, w + kGroups, ...; then the first warp adds
/// the warps' sums in order.
ESPALIER_KERNEL(kSumThreads)
sum_slices(float* out, const float* partials, int num_slices, std::int64_t stride, int width) {
  SharedAllocator shared;
  const auto sums = shared.take<float>(kSumThreads);
  const int c = static_cast<int>(block_index()) * kWarpSize + lane();
  float sum = 0.0f;
  if (c < width)
#pragma unroll 16
    for (int i = warp(); i < num_slices; i += kGroups)
      sum += read_element(partials + i * stride + c);
  sums.set(thread_index(), sum);
  block_barrier();
  if (warp() > 0 || c >= width) return;
  for (int group = 1; group < kGroups; ++group) sum += sums.get(group * kWarpSize + lane());
  write_element(out + c, read_element(out + c) + sum);
}

}  // namespace

void add_up_slices(const Queue& queue, float* out, const float* partials, std::int64_t num_slices,
                   std::int64_t stride, std::int64_t width) {
  launch(sum_slices,
         {.num_blocks = div_ceil(width, kWarpSize),
          .block_threads = kSumThreads,
          .shared_bytes = shared_bytes<float>(kSumThreads)},
         queue, out, partials, narrow<int>(num_slices), stride, narrow<int>(width));
}

std::int64_t workspace_elements(std::int64_t width, std::int64_t num_tokens) {
  // sums_of_squares: 1024 numbers in fp64 for each matrix.
  constexpr std::int64_t kForSquares = 2 * 1024 * kMaxSquareSums;
  return std::max({kPartialVectors * kMaxSlices * round_up(width, 4), kForSquares,
                   kSortElements * std::max<std::int64_t>(num_tokens, 1)});
}

}  // namespace espalier::kernels::ESPALIER_GPU
