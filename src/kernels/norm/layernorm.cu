#include "kernels/norm/layernorm.hpp"

#include "kernels/backends.hpp"
#include "kernels/cuda/own_columns.hpp"
#include "kernels/cuda/pack.hpp"
#include "kernels/cuda/row_sums.hpp"
#include "kernels/cuda/threads.hpp"
#include "kernels/cuda/tiling.hpp"
#include "kernels/dispatch.hpp"
#include "kernels/norm/norm_shapes.hpp"

namespace espalier::kernels::ESPALIER_GPU {
namespace {

template <class T>
struct Forward {
  Rows<const T> x;
  Rows<const T> delta;  ///< data == nullptr: no residual addition
  const T* weight;
  const T* bias;
  Rows<T> residual, y;
  float* mean;
  float* inverse_std;
  int width;
  float eps;
};

/// A block per row. The row waits in shared memory until its mean and its variance are known, so
/// that it is read from memory once; a thread reads there only what it wrote itself.
template <class T, int kCount>
ESPALIER_KERNEL(kMaxRowThreads)
forward_row(Forward<T> a) {
  SharedAllocator shared;
  const auto row = shared.take<T>(a.width);
  const auto sums = shared.take<float>(kMaxWarps);
  const auto squares = shared.take<float>(kMaxWarps);
  const std::int64_t t = block_index();
  float sum = 0.0f;
  for_columns<kCount>(a.width, [&](int c, auto columns) {
    auto r = load(a.x.row(t) + c, columns);
    if (a.delta.data != nullptr) {
      r = rounded_to<T>(r + load(a.delta.row(t) + c, columns));
      store(a.residual.row(t) + c, r);
    }
    store(row, c, r);
    sum += sum_of(r);
  });
  const float mean = block_sum(sum, sums) / static_cast<float>(a.width);
  float square = 0.0f;
  for_columns<kCount>(a.width, [&](int c, auto columns) {
    const auto deviation = load(row, c, columns) + -mean;
    square += sum_of(deviation * deviation);
  });
  const float variance = block_sum(square, squares) / static_cast<float>(a.width);
  const float inverse_std = 1.0f / sqrtf(variance + a.eps);
  if (thread_index() == 0) {
    write_element(a.mean + t, mean);
    write_element(a.inverse_std + t, inverse_std);
  }
  for_columns<kCount>(a.width, [&](int c, auto columns) {
    const auto normalised = (load(row, c, columns) + -mean) * inverse_std;
    store(a.y.row(t) + c, normalised * load(a.weight + c, columns) + load(a.bias + c, columns));
  });
}

template <class T>
struct Backward {
  Rows<const T> dy, x;
  const T* weight;
  const float* mean;
  const float* inverse_std;
  Rows<const T> d_residual;  ///< data == nullptr: zero
  Rows<T> dx;
  float* partials;              ///< (slices, {d_weight, d_bias}, partial_stride)
  std::int64_t partial_stride;  ///< of one of the two
  RowSlices slices;
  int width;
};

/// A block per slice of rows. With n = (x - mean) * inverse_std and g = dy * weight,
///   dx = inverse_std * (g - mean(g) - n * mean(g n)).
/// What a row needs is asked for at once, as in rmsnorm.cu.
template <class T, int kCount, int kPacks>
ESPALIER_KERNEL_OF_BLOCKS(kMaxRowThreads, kPacks == 0 ? 1 : 0)
backward_slice(Backward<T> a) {
  SharedAllocator shared;
  ColumnSums<kCount, kPacks> d_weight(shared, a.width), d_bias(shared, a.width);
  const auto sums = shared.take<float>(kMaxWarps);
  const auto products = shared.take<float>(kMaxWarps);
  KeptRow<T, kCount, kPacks> weight, dy, x, d_residual;
  for_own_columns<kCount, kPacks>(
      a.width, [&](int p, int c, auto columns) { weight.ask(p, a.weight + c, columns); });
  const std::int64_t first = block_index() * a.slices.rows_per_slice;
  const std::int64_t after = first + a.slices.rows_per_slice;
  const std::int64_t last = after < a.slices.num_rows ? after : a.slices.num_rows;
  for (std::int64_t t = first; t < last; ++t) {
    const float mean = read_element(a.mean + t);
    const float inverse_std = read_element(a.inverse_std + t);
    const T* dy_row = a.dy.row(t);
    const T* x_row = a.x.row(t);
    float gradient = 0.0f;
    float product = 0.0f;
    for_own_columns<kCount, kPacks>(a.width, [&](int p, int c, auto columns) {
      dy.ask(p, dy_row + c, columns);
      x.ask(p, x_row + c, columns);
      if (a.d_residual.data != nullptr) d_residual.ask(p, a.d_residual.row(t) + c, columns);
    });
    for_own_columns<kCount, kPacks>(a.width, [&](int p, int c, auto columns) {
      const auto d = dy.look(p, dy_row + c, columns);
      const auto d_n = d * ((x.look(p, x_row + c, columns) + -mean) * inverse_std);
      d_weight.add(p, c, d_n);
      d_bias.add(p, c, d);
      const auto w = weight.look(p, a.weight + c, columns);
      gradient += sum_of(d * w);
      product += sum_of(d_n * w);
    });
    // Two sums with places of their own: of each, all threads have read one row's before any can
    // write the next row's.
    const float mean_gradient = block_sum(gradient, sums) / static_cast<float>(a.width);
    const float mean_product = block_sum(product, products) / static_cast<float>(a.width);
    for_own_columns<kCount, kPacks>(a.width, [&](int p, int c, auto columns) {
      const auto g = dy.look(p, dy_row + c, columns) * weight.look(p, a.weight + c, columns);
      const auto n = (x.look(p, x_row + c, columns) + -mean) * inverse_std;
      auto dx = (g + -mean_gradient - n * mean_product) * inverse_std;
      if (a.d_residual.data != nullptr)
        dx = dx + d_residual.look(p, a.d_residual.row(t) + c, columns);
      store(a.dx.row(t) + c, dx);
    });
  }
  float* partial = a.partials + block_index() * 2 * a.partial_stride;
  for_own_columns<kCount, kPacks>(a.width, [&](int p, int c, auto columns) {
    store(partial + c, d_weight.sum(p, c, columns));
    store(partial + a.partial_stride + c, d_bias.sum(p, c, columns));
  });
}

}  // namespace

void layernorm_forward(const Queue& queue, const LayerNormForward& a) {
  require_shapes(a);
  const bool adds = a.delta.data != nullptr;
  const std::int64_t width = a.x.cols;
  const bool aligned =
      all_aligned(a.x, a.weight, a.bias, a.y) && (!adds || all_aligned(a.delta, a.residual));
  dispatch(a.x.dtype, [&]<class T>(T) {
    with_width<kFullWidth<T>>(aligned, [&]<int kCount>(Columns<kCount>) {
      launch(forward_row<T, kCount>,
             {.num_blocks = a.x.rows,
              .block_threads = row_threads(width, kCount),
              .shared_bytes = shared_bytes<T>(width) + 2 * shared_bytes<float>(kMaxWarps)},
             queue,
             {.x = rows_of<T>(a.x),
              .delta = rows_of<T>(a.delta),
              .weight = a.weight.as<T>(),
              .bias = a.bias.as<T>(),
              .residual = rows_of<T>(a.residual),
              .y = rows_of<T>(a.y),
              .mean = a.statistics.as<float>(0),
              .inverse_std = a.statistics.as<float>(1),
              .width = narrow<int>(width),
              .eps = a.eps});
    });
  });
}

void layernorm_backward(const Queue& queue, const LayerNormBackward& a) {
  require_shapes(a);
  const bool adds = a.d_residual.data != nullptr;
  const std::int64_t width = a.x.cols;
  const RowSlices slices(a.x.rows);
  const std::int64_t stride = round_up(width, 4);
  auto* partials = workspace<float>(queue, slices.num_slices * 2 * stride);
  const bool aligned =
      all_aligned(a.dy, a.x, a.weight, a.dx) && (!adds || all_aligned(a.d_residual));
  dispatch(a.x.dtype, [&]<class T>(T) {
    with_width<kFullWidth<T>>(aligned, [&]<int kCount>(Columns<kCount>) {
      const int threads = row_threads(width, kCount);
      with_kept_packs<kCount>(width, threads, [&]<int kPacks>(KeptPacks<kPacks>) {
        using Sums = ColumnSums<kCount, kPacks>;
        launch(backward_slice<T, kCount, kPacks>,
               {.num_blocks = slices.num_slices,
                .block_threads = threads,
                .shared_bytes = 2 * shared_bytes<float>(Sums::shared_elements(width)) +
                                2 * shared_bytes<float>(kMaxWarps)},
               queue,
               {.dy = rows_of<T>(a.dy),
                .x = rows_of<T>(a.x),
                .weight = a.weight.as<T>(),
                .mean = a.statistics.as<float>(0),
                .inverse_std = a.statistics.as<float>(1),
                .d_residual = rows_of<T>(a.d_residual),
                .dx = rows_of<T>(a.dx),
                .partials = partials,
                .partial_stride = stride,
                .slices = slices,
                .width = narrow<int>(width)});
      });
    });
  });
  add_up_slices(queue, a.d_weight.as<float>(), partials, slices.num_slices, 2 * stride, width);
  add_up_slices(queue, a.d_bias.as<float>(), partials + stride, slices.num_slices, 2 * stride,
                width);
}

}  // namespace espalier::kernels::ESPALIER_GPU
