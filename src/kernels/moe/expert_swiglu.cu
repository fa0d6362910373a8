#include "kernels/moe/expert_swiglu.hpp"

#include "kernels/backends.hpp"
#include "kernels/cuda/math.hpp"
#include "kernels/cuda/pack.hpp"
#include "kernels/cuda/threads.hpp"
#include "kernels/cuda/tiling.hpp"
#include "kernels/dispatch.hpp"
#include "kernels/moe/expert_swiglu_shapes.hpp"

namespace espalier::kernels::ESPALIER_GPU {
namespace {

template <class T>
struct Backward {
  Rows<const T> gate_up, d_hidden;
  Rows<const float> row_weights;
  Rows<T> d_gate_up, hidden;
  Rows<float> d_row_weights;
  int width;
};

/// A block per row. Every element is loaded before its place is written: the outputs may alias the
/// inputs.
template <class T, int kCount>
ESPALIER_KERNEL(kMaxRowThreads)
backward_row(Backward<T> a) {
  SharedAllocator shared;
  const auto partials = shared.take<float>(kMaxWarps);
  const std::int64_t r = block_index();
  const float weight = read_element(a.row_weights.row(r));
  float product = 0.0f;
  for_columns<kCount>(a.width, [&](int c, auto columns) {
    const auto g = load(a.gate_up.row(r) + c, columns);
    const auto u = load(a.gate_up.row(r) + a.width + c, columns);
    const auto d = load(a.d_hidden.row(r) + c, columns);
    const auto s = g.map([](float x) { return 1.0f / (1.0f + exp_for<T>(-x)); });
    const auto silu = g * s;
    const auto slope = s + silu * s.map([](float x) { return 1.0f - x; });
    const auto h = silu * u;
    const auto weighted = d * weight;
    product += sum_of(d * h);
    store(a.d_gate_up.row(r) + c, weighted * u * slope);
    store(a.d_gate_up.row(r) + a.width + c, weighted * silu);
    store(a.hidden.row(r) + c, h * weight);
  });
  product = block_sum(product, partials);
  if (thread_index() == 0) write_element(a.d_row_weights.row(r), product);
}

}  // namespace

void expert_swiglu_backward(const Queue& queue, const ExpertSwigluBackward& a) {
  check_shapes(a);
  const std::int64_t width = a.d_hidden.cols;
  dispatch(a.d_hidden.dtype, [&]<class T>(T) {
    const bool aligned = all_aligned(a.gate_up, a.gate_up.col_range(width, width), a.d_hidden,
                                     a.d_gate_up, a.d_gate_up.col_range(width, width), a.hidden);
    with_width<kFullWidth<T>>(aligned, [&]<int kCount>(Columns<kCount>) {
      launch(backward_row<T, kCount>,
             {.num_blocks = a.d_hidden.rows,
              .block_threads = row_threads(width, kCount),
              .shared_bytes = shared_bytes<float>(kMaxWarps)},
             queue,
             {.gate_up = rows_of<T>(a.gate_up),
              .d_hidden = rows_of<T>(a.d_hidden),
              .row_weights = rows_of<float>(a.row_weights),
              .d_gate_up = rows_of<T>(a.d_gate_up),
              .hidden = rows_of<T>(a.hidden),
              .d_row_weights = rows_of<float>(a.d_row_weights),
              .width = narrow<int>(width)});
    });
  });
}

}  // namespace espalier::kernels::ESPALIER_GPU
