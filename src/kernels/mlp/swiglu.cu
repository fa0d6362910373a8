#include "kernels/mlp/swiglu.hpp"

#include "kernels/backends.hpp"
#include "kernels/cuda/math.hpp"
#include "kernels/cuda/pack.hpp"
#include "kernels/cuda/tiling.hpp"
#include "kernels/dispatch.hpp"

namespace espalier::kernels::ESPALIER_GPU {
namespace {

template <class T>
ESPALIER_DEVICE float sigmoid(float x) {
  return 1.0f / (1.0f + exp_for<T>(-x));
}

template <class T, int kCount>
ESPALIER_KERNEL(kTileThreads)
forward_tile(Rows<T> out, Rows<const T> gate, Rows<const T> up, Tiling tiling) {
  const Tile tile = tiling.tile(block_index());
  for_columns<kCount>(tile.count, [&](int c, auto columns) {
    const auto g = load(gate.at(tile, c), columns);
    const auto u = load(up.at(tile, c), columns);
    const auto silu = g * g.map([](float x) { return sigmoid<T>(x); });
    store(out.at(tile, c), silu * u);
  });
}

template <class T>
struct Backward {
  Rows<const T> gate, up, d_out;
  Rows<T> d_gate, d_up, out;
};

/// Every element is loaded before its place is written: the outputs may alias the inputs.
template <class T, int kCount>
ESPALIER_KERNEL(kTileThreads)
backward_tile(Backward<T> a, Tiling tiling) {
  const Tile tile = tiling.tile(block_index());
  for_columns<kCount>(tile.count, [&](int c, auto columns) {
    const auto g = load(a.gate.at(tile, c), columns);
    const auto u = load(a.up.at(tile, c), columns);
    const auto d = load(a.d_out.at(tile, c), columns);
    const auto s = g.map([](float x) { return sigmoid<T>(x); });
    const auto silu = g * s;
    const auto slope = s + silu * s.map([](float x) { return 1.0f - x; });
    store(a.d_gate.at(tile, c), d * u * slope);
    store(a.d_up.at(tile, c), d * silu);
    store(a.out.at(tile, c), silu * u);
  });
}

/// Columns first .. first + count of a (T, 2 F_loc) matrix: the gates or the ups.
template <class View>
View half(const View& gate_up, bool second) {
  return gate_up.col_range(second ? gate_up.cols / 2 : 0, gate_up.cols / 2);
}

}  // namespace

void swiglu_forward(const Queue& queue, const SwigluForward& a) {
  ESPALIER_ASSERT(a.gate_up.rows == a.out.rows && a.gate_up.cols == 2 * a.out.cols,
                  "gate_up {}, out {}", describe(a.gate_up), describe(a.out));
  const auto gate = half(a.gate_up, false);
  const auto up = half(a.gate_up, true);
  const Tiling tiling(a.out.rows, a.out.cols, false);
  dispatch(a.out.dtype, [&]<class T>(T) {
    with_width<kFullWidth<T>>(all_aligned(gate, up, a.out), [&]<int kCount>(Columns<kCount>) {
      launch(forward_tile<T, kCount>, {tiling.num_tiles(), kTileThreads}, queue, rows_of<T>(a.out),
             rows_of<T>(gate), rows_of<T>(up), tiling);
    });
  });
}

void swiglu_backward(const Queue& queue, const SwigluBackward& a) {
  const std::int64_t width = a.d_out.cols;
  ESPALIER_ASSERT(a.gate_up.rows == a.d_out.rows && a.gate_up.cols == 2 * width &&
                      a.d_gate_up.rows == a.d_out.rows && a.d_gate_up.cols == 2 * width &&
                      a.out.rows == a.d_out.rows && a.out.cols == width,
                  "gate_up {}, d_out {}, d_gate_up {}, out {}", describe(a.gate_up),
                  describe(a.d_out), describe(a.d_gate_up), describe(a.out));
  const auto gate = half(a.gate_up, false);
  const auto up = half(a.gate_up, true);
  const auto d_gate = half(a.d_gate_up, false);
  const auto d_up = half(a.d_gate_up, true);
  const Tiling tiling(a.d_out.rows, width, false);
  dispatch(a.d_out.dtype, [&]<class T>(T) {
    const bool aligned = all_aligned(gate, up, a.d_out, d_gate, d_up, a.out);
    with_width<kFullWidth<T>>(aligned, [&]<int kCount>(Columns<kCount>) {
      launch(backward_tile<T, kCount>, {tiling.num_tiles(), kTileThreads}, queue,
             {.gate = rows_of<T>(gate),
              .up = rows_of<T>(up),
              .d_out = rows_of<T>(a.d_out),
              .d_gate = rows_of<T>(d_gate),
              .d_up = rows_of<T>(d_up),
              .out = rows_of<T>(a.out)},
             tiling);
    });
  });
}

}  // namespace espalier::kernels::ESPALIER_GPU
