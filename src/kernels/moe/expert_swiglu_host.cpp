#include "kernels/moe/expert_swiglu.hpp"

#include "base/host_loops.hpp"
#include "kernels/backends.hpp"
#include "kernels/dispatch.hpp"
#include "kernels/moe/expert_swiglu_shapes.hpp"

// Last: what follows is compiled for one SIMD level.
#include "kernels/long_sum.hpp"

namespace espalier::kernels::host::ESPALIER_SIMD {

void expert_swiglu_backward(device::Context&, const ExpertSwigluBackward& a) {
  using simd::Floats;
  check_shapes(a);
  const std::int64_t width = a.d_hidden.cols;
  dispatch(a.d_hidden.dtype, [&]<class T>(T) {
    host_for_ranges(a.d_hidden.rows, 1, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t r = begin; r < end; ++r) {
        const T* gate = a.gate_up.as<T>(r);
        const T* d_hidden = a.d_hidden.as<T>(r);
        T* d_gate = a.d_gate_up.as<T>(r);
        T* hidden = a.hidden.as<T>(r);
        const float weight = *a.row_weights.as<float>(r);
        LongSum sum;
        // Every element is loaded before its place is written: the outputs may alias the inputs.
        simd::for_lanes(width, [&](std::int64_t c, auto lanes) {
          const Floats g = simd::load(gate + c, lanes);
          const Floats u = simd::load(gate + width + c, lanes);
          const Floats d = simd::load(d_hidden + c, lanes);
          const Floats s = simd::reciprocal<T>(1.0f + simd::exp_for<T>(-g));
          const Floats silu = g * s;
          const Floats h = silu * u;
          const Floats weighted = weight * d;
          sum.add(simd::keep(d * h, lanes, Floats{}));
          simd::store(d_gate + c, weighted * u * (s + silu * (1.0f - s)), lanes);
          simd::store(d_gate + width + c, weighted * silu, lanes);
          simd::store(hidden + c, weight * h, lanes);
        });
        *a.d_row_weights.as<float>(r) = sum.total();
      }
    });
  });
}

}  // namespace espalier::kernels::host::ESPALIER_SIMD
