#include "kernels/bias.hpp"

#include "kernels/backends.hpp"
#include "kernels/cuda/pack.hpp"
#include "kernels/cuda/row_sums.hpp"
#include "kernels/cuda/tiling.hpp"
#include "kernels/dispatch.hpp"

namespace espalier::kernels::ESPALIER_GPU {
namespace {

/// A block per slice of rows; a thread owns columns.
template <class T, int kCount>
ESPALIER_KERNEL(kMaxRowThreads)
sum_slice(float* partials, std::int64_t partial_stride, Rows<const T> dy, RowSlices slices,
          int width) {
  const std::int64_t first = block_index() * slices.rows_per_slice;
  const std::int64_t after = first + slices.rows_per_slice;
  const std::int64_t last = after < slices.num_rows ? after : slices.num_rows;
  float* partial = partials + block_index() * partial_stride;
  for_columns<kCount>(width, [&](int c, auto columns) {
    auto sum = load(dy.row(first) + c, columns);
#pragma unroll 4
    for (std::int64_t t = first + 1; t < last; ++t) sum = sum + load(dy.row(t) + c, columns);
    store(partial + c, sum);
  });
}

}  // namespace

void bias_backward(const Queue& queue, const BiasBackward& a) {
  ESPALIER_ASSERT(a.d_bias.rows == 1 && a.d_bias.cols == a.dy.cols, "dy {}, d_bias {}",
                  describe(a.dy), describe(a.d_bias));
  const std::int64_t width = a.dy.cols;
  const RowSlices slices(a.dy.rows);
  const std::int64_t stride = round_up(width, 4);
  auto* partials = workspace<float>(queue, slices.num_slices * stride);
  dispatch(a.dy.dtype, [&]<class T>(T) {
    with_width<kFullWidth<T>>(all_aligned(a.dy), [&]<int kCount>(Columns<kCount>) {
      launch(sum_slice<T, kCount>, {slices.num_slices, row_threads(width, kCount)}, queue, partials,
             stride, rows_of<T>(a.dy), slices, narrow<int>(width));
    });
  });
  add_up_slices(queue, a.d_bias.as<float>(), partials, slices.num_slices, stride, width);
}

}  // namespace espalier::kernels::ESPALIER_GPU
