#include "kernels/mlp/gelu.hpp"

#include "kernels/backends.hpp"
#include "kernels/cuda/math.hpp"
#include "kernels/cuda/pack.hpp"
#include "kernels/cuda/tiling.hpp"
#include "kernels/dispatch.hpp"

namespace espalier::kernels::ESPALIER_GPU {
namespace {

constexpr float kCubic = 0.044715f;
constexpr float kTwoRootTwoOverPi = 1.5957691216057308f;  // 2 sqrt(2 / pi)

/// sigmoid(2 u(x))
template <class T>
ESPALIER_DEVICE float gate(float x) {
  const float twice_u = x * kTwoRootTwoOverPi * (1.0f + kCubic * x * x);
  return 1.0f / (1.0f + exp_for<T>(-twice_u));
}

template <class T, int kCount>
ESPALIER_KERNEL(kTileThreads)
forward_tile(Rows<T> out, Rows<const T> in, Tiling tiling) {
  const Tile tile = tiling.tile(block_index());
  for_columns<kCount>(tile.count, [&](int c, auto columns) {
    const auto x = load(in.at(tile, c), columns);
    store(out.at(tile, c), x.map([](float value) { return value * gate<T>(value); }));
  });
}

template <class T>
struct Backward {
  Rows<const T> x, d_out;
  Rows<T> d_x, out;
};

/// Every element is loaded before its place is written: the outputs may alias the inputs.
template <class T, int kCount>
ESPALIER_KERNEL(kTileThreads)
backward_tile(Backward<T> a, Tiling tiling) {
  const Tile tile = tiling.tile(block_index());
  for_columns<kCount>(tile.count, [&](int c, auto columns) {
    const auto x = load(a.x.at(tile, c), columns);
    auto d = load(a.d_out.at(tile, c), columns);
    auto value = x;
#pragma unroll
    for (int i = 0; i < columns; ++i) {
      const float s = gate<T>(x.at[i]);
      value.at[i] = x.at[i] * s;
      const float twice_slope = kTwoRootTwoOverPi * (1.0f + 3.0f * kCubic * x.at[i] * x.at[i]);
      d.at[i] *= s + value.at[i] * (1.0f - s) * twice_slope;
    }
    store(a.d_x.at(tile, c), d);
    store(a.out.at(tile, c), value);
  });
}

}  // namespace

void gelu_forward(const Queue& queue, const GeluForward& a) {
  ESPALIER_ASSERT(a.x.rows == a.out.rows && a.x.cols == a.out.cols, "x {}, out {}", describe(a.x),
                  describe(a.out));
  const Tiling tiling(a.x.rows, a.x.cols, all_contiguous(a.x, a.out));
  dispatch(a.out.dtype, [&]<class T>(T) {
    with_width<kFullWidth<T>>(all_aligned(a.x, a.out), [&]<int kCount>(Columns<kCount>) {
      launch(forward_tile<T, kCount>, {tiling.num_tiles(), kTileThreads}, queue, rows_of<T>(a.out),
             rows_of<T>(a.x), tiling);
    });
  });
}

void gelu_backward(const Queue& queue, const GeluBackward& a) {
  ESPALIER_ASSERT(a.x.rows == a.d_out.rows && a.x.cols == a.d_out.cols && a.d_x.rows == a.x.rows &&
                      a.d_x.cols == a.x.cols && a.out.rows == a.x.rows && a.out.cols == a.x.cols,
                  "x {}, d_out {}, d_x {}, out {}", describe(a.x), describe(a.d_out),
                  describe(a.d_x), describe(a.out));
  const Tiling tiling(a.x.rows, a.x.cols, all_contiguous(a.x, a.d_out, a.d_x, a.out));
  dispatch(a.d_out.dtype, [&]<class T>(T) {
    const bool aligned = all_aligned(a.x, a.d_out, a.d_x, a.out);
    with_width<kFullWidth<T>>(aligned, [&]<int kCount>(Columns<kCount>) {
      launch(backward_tile<T, kCount>, {tiling.num_tiles(), kTileThreads}, queue,
             {.x = rows_of<T>(a.x),
              .d_out = rows_of<T>(a.d_out),
              .d_x = rows_of<T>(a.d_x),
              .out = rows_of<T>(a.out)},
             tiling);
    });
  });
}

}  // namespace espalier::kernels::ESPALIER_GPU
