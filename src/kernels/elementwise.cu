#include "kernels/elementwise.hpp"

#include <algorithm>

#include "kernels/cuda/pack.hpp"
#include "kernels/cuda/threads.hpp"
#include "kernels/cuda/tiling.hpp"
#include "kernels/dispatch.hpp"
#include "kernels/siblings.hpp"

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
zero_tile(Rows<T> out, Tiling tiling) {
  const Tile tile = tiling.tile(block_index());
  for_columns<kCount>(tile.count, [&](int c, auto columns) {
    store(out.at(tile, c), Pack<decltype(columns)::value>{});
  });
}

/// Blocks that share the sum of squares, whatever the device: their number shapes the sum.
constexpr int kSquareBlocks = 1024;

/// Vectors are summed in fp32, everything else in fp64: 10^10 elements keep their digits.
template <int kCount>
ESPALIER_KERNEL(kTileThreads)
squares_of_tiles(double* partials, Rows<const float> in, Tiling tiling) {
  SharedAllocator shared;
  const auto sums = shared.take<double>(kMaxWarps);
  double sum = 0.0;
  for (std::int64_t i = block_index(); i < tiling.num_tiles(); i += kSquareBlocks) {
    const Tile tile = tiling.tile(i);
    for_columns<kCount>(tile.count, [&](int c, auto columns) {
      const auto x = load(in.at(tile, c), columns);
      sum += static_cast<double>(sum_of(x * x));
    });
  }
  sum = block_sum(sum, sums);
  if (thread_index() == 0) write_element(partials + block_index(), sum);
}

ESPALIER_KERNEL(kTileThreads)
add_up_squares(double* out, const double* partials, int count) {
  SharedAllocator shared;
  const auto sums = shared.take<double>(kMaxWarps);
  double sum = 0.0;
  for (int i = thread_index(); i < count; i += num_threads()) sum += read_element(partials + i);
  sum = block_sum(sum, sums);
  if (thread_index() == 0) write_element(out, sum);
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

void sum_of_squares(const Queue& queue, device::View out, device::ConstView in) {
  const Tiling tiling(in.rows, in.cols, all_contiguous(in));
  const int blocks = static_cast<int>(std::min<std::int64_t>(kSquareBlocks, tiling.num_tiles()));
  auto* partials = workspace<double>(queue, blocks);
  constexpr std::int64_t kSharedBytes = shared_bytes<double>(kMaxWarps);
  with_width<kFullWidth<float>>(all_aligned(in), [&]<int kCount>(Columns<kCount>) {
    launch(squares_of_tiles<kCount>, {blocks, kTileThreads, kSharedBytes}, queue, partials,
           rows_of<float>(in), tiling);
  });
  launch(add_up_squares, {1, kTileThreads, kSharedBytes}, queue, out.as<double>(),
         static_cast<const double*>(partials), blocks);
}

}  // namespace espalier::kernels::ESPALIER_GPU
