#include "kernels/elementwise.hpp"

#include <algorithm>

#include "kernels/backends.hpp"
#include "kernels/cuda/pack.hpp"
#include "kernels/cuda/threads.hpp"
#include "kernels/cuda/tiling.hpp"
#include "kernels/dispatch.hpp"

namespace espalier::kernels::ESPALIER_GPU {
namespace {

template <class To, class From, int kCount>
ESPALIER_KERNEL(kTileThreads)
cast_tile(Rows<To> out, Rows<const From> in, Tiling tiling) {
  const Tile tile = tiling.tile(block_index());
  for_columns<kCount>(tile.count, [&](int c, auto columns) {
    store(out.at(tile, c), load(in.at(tile, c), columns));
  });
}

template <class T, int kCount>
ESPALIER_KERNEL(kTileThreads)
add_tile(Rows<T> out, Rows<const T> x, Rows<const T> delta, Tiling tiling) {
  const Tile tile = tiling.tile(block_index());
  for_columns<kCount>(tile.count, [&](int c, auto columns) {
    store(out.at(tile, c), load(x.at(tile, c), columns) + load(delta.at(tile, c), columns));
  });
}

template <class T, int kCount>
ESPALIER_KERNEL(kTileThreads)
zero_tile(Rows<T> out, Tiling tiling) {
  const Tile tile = tiling.tile(block_index());
  for_columns<kCount>(tile.count, [&](int c, auto columns) {
    store(out.at(tile, c), Pack<decltype(columns)::value>{});
  });
}

/// Blocks that share a matrix's sum of squares, whatever the device: their number shapes the sum.
constexpr int kSquareBlocks = 1024;

/// Matrices of one launch.
struct Matrices {
  struct Matrix {
    Rows<const float> rows;
    Tiling tiling{0, 0, false};
    bool aligned;              ///< of each for itself: the width of vectors shapes the sum, too
    std::int64_t first_block;  ///< counted through all; its blocks end where the next's begin
  };
  Matrix at[kMaxSquareSums];
  std::int64_t num_blocks = 0;
  int count = 0;

  ESPALIER_DEVICE std::int64_t end_block(int i) const {
    return i + 1 < count ? at[i + 1].first_block : num_blocks;
  }
};

/// What a thread adds up of a matrix. Vectors are summed in fp32, everything else in fp64: 10^10
/// elements keep their digits.
template <int kCount>
ESPALIER_DEVICE double squares_of_thread(const Matrices::Matrix& in) {
  double sum = 0.0;
  for (std::int64_t i = block_index() - in.first_block; i < in.tiling.num_tiles();
       i += kSquareBlocks) {
    const Tile tile = in.tiling.tile(i);
    for_columns<kCount>(tile.count, [&](int c, auto columns) {
      const auto x = load(in.rows.at(tile, c), columns);
      sum += static_cast<double>(sum_of(x * x));
    });
  }
  return sum;
}

template <int kCount>
ESPALIER_KERNEL(kTileThreads)
squares_of_tiles(double* partials, Matrices matrices) {
  SharedAllocator shared;
  const auto sums = shared.take<double>(kMaxWarps);
  int which = matrices.count - 1;
  while (matrices.at[which].first_block > block_index()) --which;
  const Matrices::Matrix& in = matrices.at[which];
  const double sum =
      block_sum(in.aligned ? squares_of_thread<kCount>(in) : squares_of_thread<1>(in), sums);
  if (thread_index() == 0) write_element(partials + block_index(), sum);
}

/// A block for each matrix.
ESPALIER_KERNEL(kTileThreads)
add_up_squares(Rows<double> out, const double* partials, Matrices matrices) {
  SharedAllocator shared;
  const auto sums = shared.take<double>(kMaxWarps);
  const int which = static_cast<int>(block_index());
  const std::int64_t end = matrices.end_block(which);
  double sum = 0.0;
  for (std::int64_t i = matrices.at[which].first_block + thread_index(); i < end;
       i += num_threads())
    sum += read_element(partials + i);
  sum = block_sum(sum, sums);
  if (thread_index() == 0) write_element(out.row(which), sum);
}

LaunchShape shape_of(const Tiling& tiling) {
  return {.num_blocks = tiling.num_tiles(), .block_threads = kTileThreads};
}

}  // namespace

void cast(const Queue& queue, device::View out, device::ConstView in) {
  ESPALIER_ASSERT(out.rows == in.rows && out.cols == in.cols, "out {}, in {}", describe(out),
                  describe(in));
  const Tiling tiling(out.rows, out.cols, all_contiguous(out, in));
  dispatch(out.dtype, [&]<class To>(To) {
    dispatch(in.dtype, [&]<class From>(From) {
      // As many columns as fill 16 bytes of the larger type: with twice as many, each of its two
      // accesses would touch half of every sector.
      constexpr int kWidth = std::min(kFullWidth<To>, kFullWidth<From>);
      with_width<kWidth>(all_aligned(out, in), [&]<int kCount>(Columns<kCount>) {
        launch(cast_tile<To, From, kCount>, shape_of(tiling), queue, rows_of<To>(out),
               rows_of<From>(in), tiling);
      });
    });
  });
}

void residual_add(const Queue& queue, const ResidualAdd& a) {
  for (const device::ConstView& in : {a.x, a.delta})
    ESPALIER_ASSERT(in.rows == a.out.rows && in.cols == a.out.cols && in.dtype == a.out.dtype,
                    "in {}, out {}", describe(in), describe(a.out));
  const Tiling tiling(a.out.rows, a.out.cols, all_contiguous(a.out, a.x, a.delta));
  dispatch(a.out.dtype, [&]<class T>(T) {
    with_width<kFullWidth<T>>(all_aligned(a.out, a.x, a.delta), [&]<int kCount>(Columns<kCount>) {
      launch(add_tile<T, kCount>, shape_of(tiling), queue, rows_of<T>(a.out), rows_of<T>(a.x),
             rows_of<T>(a.delta), tiling);
    });
  });
}

void set_zero(const Queue& queue, device::View out) {
  // Zeros of all types are zero bits: eight bytes are two columns of four.
  device::View zeros = out;
  zeros.dtype = size_of(out.dtype) == sizeof(bf16) ? DType::bf16 : DType::f32;
  const auto columns = static_cast<std::int64_t>(size_of(out.dtype) / size_of(zeros.dtype));
  zeros.cols *= columns;
  zeros.stride *= columns;
  const Tiling tiling(zeros.rows, zeros.cols, all_contiguous(zeros));
  dispatch(zeros.dtype, [&]<class T>(T) {
    with_width<kFullWidth<T>>(all_aligned(zeros), [&]<int kCount>(Columns<kCount>) {
      launch(zero_tile<T, kCount>, shape_of(tiling), queue, rows_of<T>(zeros), tiling);
    });
  });
}

void sums_of_squares(const Queue& queue, device::View out, std::span<const device::ConstView> in) {
  for (std::size_t first = 0; first < in.size(); first += kMaxSquareSums) {
    const auto some = in.subspan(first, std::min<std::size_t>(kMaxSquareSums, in.size() - first));
    Matrices matrices{};
    for (const device::ConstView& view : some) {
      const Tiling tiling(view.rows, view.cols, all_contiguous(view));
      matrices.at[matrices.count++] = {rows_of<float>(view), tiling, all_aligned(view),
                                       matrices.num_blocks};
      matrices.num_blocks += std::min<std::int64_t>(kSquareBlocks, tiling.num_tiles());
    }
    auto* partials = workspace<double>(queue, matrices.num_blocks);
    constexpr std::int64_t kSharedBytes = shared_bytes<double>(kMaxWarps);
    launch(squares_of_tiles<kFullWidth<float>>, {matrices.num_blocks, kTileThreads, kSharedBytes},
           queue, partials, matrices);
    const auto begin = static_cast<std::int64_t>(first);
    launch(add_up_squares, {matrices.count, kTileThreads, kSharedBytes}, queue,
           rows_of<double>(out.row_range(begin, matrices.count)),
           static_cast<const double*>(partials), matrices);
  }
}

}  // namespace espalier::kernels::ESPALIER_GPU
