#include "kernels/norm/rmsnorm.hpp"

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
  Rows<T> residual, y;
  float* inverse_rms;
  int width;
  float eps;
};

/// A block per row. The row waits in shared memory until its norm is known, so that it is read from
/// memory once; a thread reads there only what it wrote itself.
template <class T, int kCount>
ESPALIER_KERNEL(kMaxRowThreads)
forward_row(Forward<T> a) {
  SharedAllocator shared;
  const auto row = shared.take<T>(a.width);
  const auto partials = shared.take<float>(kMaxWarps);
  const std::int64_t t = block_index();
  float squares = 0.0f;
  for_columns<kCount>(a.width, [&](int c, auto columns) {
    auto r = load(a.x.row(t) + c, columns);
    if (a.delta.data != nullptr) {
      r = rounded_to<T>(r + load(a.delta.row(t) + c, columns));
      store(a.residual.row(t) + c, r);
    }
    store(row, c, r);
    squares += sum_of(r * r);
  });
  const float mean = block_sum(squares, partials) / static_cast<float>(a.width);
  const float inverse_rms = 1.0f / sqrtf(mean + a.eps);
  if (thread_index() == 0) write_element(a.inverse_rms + t, inverse_rms);
  for_columns<kCount>(a.width, [&](int c, auto columns) {
    const auto normalised = rounded_to<T>(load(row, c, columns) * inverse_rms);
    store(a.y.row(t) + c, normalised * load(a.weight + c, columns));
  });
}

template <class T>
struct Backward {
  Rows<const T> dy, x;
  const T* weight;
  const float* inverse_rms;
  Rows<const T> d_residual;  ///< data == nullptr: zero
  Rows<T> dx;
  float* partials;  ///< (slices, partial_stride)
  std::int64_t partial_stride;
  RowSlices slices;
  int width;
};

/// A block per slice of rows. With n = x * inverse_rms and g = dy * weight,
///   dx = inverse_rms * (g - n * mean(g n)).
/// A block has one row under way at a time: all that it needs of it is asked for at once, or the
/// second half of a row would wait for memory as long as the first.
template <class T, int kCount, int kPacks>
ESPALIER_KERNEL_OF_BLOCKS(kMaxRowThreads, kPacks == 0 ? 1 : 0)
backward_slice(Backward<T> a) {
  SharedAllocator shared;
  ColumnSums<kCount, kPacks> d_weight(shared, a.width);
  const auto partials = shared.take<float>(2 * kMaxWarps);
  KeptRow<T, kCount, kPacks> weight, dy, x, d_residual;
  for_own_columns<kCount, kPacks>(
      a.width, [&](int p, int c, auto columns) { weight.ask(p, a.weight + c, columns); });
  const std::int64_t first = block_index() * a.slices.rows_per_slice;
  const std::int64_t after = first + a.slices.rows_per_slice;
  const std::int64_t last = after < a.slices.num_rows ? after : a.slices.num_rows;
  for (std::int64_t t = first; t < last; ++t) {
    const float inverse_rms = read_element(a.inverse_rms + t);
    float products = 0.0f;
    for_own_columns<kCount, kPacks>(a.width, [&](int p, int c, auto columns) {
      dy.ask(p, a.dy.row(t) + c, columns);
      x.ask(p, a.x.row(t) + c, columns);
      if (a.d_residual.data != nullptr) d_residual.ask(p, a.d_residual.row(t) + c, columns);
    });
    for_own_columns<kCount, kPacks>(a.width, [&](int p, int c, auto columns) {
      const auto product =
          dy.look(p, a.dy.row(t) + c, columns) * (x.look(p, a.x.row(t) + c, columns) * inverse_rms);
      d_weight.add(p, c, product);
      products += sum_of(product * weight.look(p, a.weight + c, columns));
    });
    // In turn, so that one row's sum may be read while the next row's is written.
    const auto turn = partials.part(t % 2 == 0 ? 0 : kMaxWarps, kMaxWarps);
    const float mean = block_sum(products, turn) / static_cast<float>(a.width);
    const float slope = mean * inverse_rms * inverse_rms;
    for_own_columns<kCount, kPacks>(a.width, [&](int p, int c, auto columns) {
      const auto g = dy.look(p, a.dy.row(t) + c, columns) * weight.look(p, a.weight + c, columns);
      auto dx = g * inverse_rms - x.look(p, a.x.row(t) + c, columns) * slope;
      if (a.d_residual.data != nullptr)
        dx = dx + d_residual.look(p, a.d_residual.row(t) + c, columns);
      store(a.dx.row(t) + c, dx);
    });
  }
  float* partial = a.partials + block_index() * a.partial_stride;
  for_own_columns<kCount, kPacks>(a.width, [&](int p, int c, auto columns) {
    store(partial + c, d_weight.sum(p, c, columns));
  });
}

}  // namespace

void rmsnorm_forward(const Queue& queue, const RmsNormForward& a) {
  require_shapes(a);
  const bool adds = a.delta.data != nullptr;
  const std::int64_t width = a.x.cols;
  const bool aligned =
      all_aligned(a.x, a.weight, a.y) && (!adds || all_aligned(a.delta, a.residual));
  dispatch(a.x.dtype, [&]<class T>(T) {
    with_width<kFullWidth<T>>(aligned, [&]<int kCount>(Columns<kCount>) {
      launch(forward_row<T, kCount>,
             {.num_blocks = a.x.rows,
              .block_threads = row_threads(width, kCount),
              .shared_bytes = shared_bytes<T>(width) + shared_bytes<float>(kMaxWarps)},
             queue,
             {.x = rows_of<T>(a.x),
              .delta = rows_of<T>(a.delta),
              .weight = a.weight.as<T>(),
              .residual = rows_of<T>(a.residual),
              .y = rows_of<T>(a.y),
              .inverse_rms = a.inverse_rms.as<float>(),
              .width = narrow<int>(width),
              .eps = a.eps});
    });
  });
}

void rmsnorm_backward(const Queue& queue, const RmsNormBackward& a) {
  require_shapes(a);
  const bool adds = a.d_residual.data != nullptr;
  const std::int64_t width = a.x.cols;
  const RowSlices slices(a.x.rows);
  const std::int64_t stride = round_up(width, 4);
  auto* partials = workspace<float>(queue, slices.num_slices * stride);
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
                .shared_bytes = shared_bytes<float>(Sums::shared_elements(width)) +
                                shared_bytes<float>(2 * kMaxWarps)},
               queue,
               {.dy = rows_of<T>(a.dy),
                .x = rows_of<T>(a.x),
                .weight = a.weight.as<T>(),
                .inverse_rms = a.inverse_rms.as<float>(),
                .d_residual = rows_of<T>(a.d_residual),
                .dx = rows_of<T>(a.dx),
                .partials = partials,
                .partial_stride = stride,
                .slices = slices,
                .width = narrow<int>(width)});
      });
    });
  });
  add_up_slices(queue, a.d_weight.as<float>(), partials, slices.num_slices, stride, width);
}

}  // namespace espalier::kernels::ESPALIER_GPU
