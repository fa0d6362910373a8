#include "base/host_loops.hpp"
#include "kernels/backends.hpp"
#include "kernels/dispatch.hpp"
#include "kernels/mlp/swiglu.hpp"

// Last: what follows is compiled for one SIMD level.
#include "base/simd/simd.hpp"

namespace espalier::kernels::host::ESPALIER_SIMD {
namespace {

using simd::Floats;

template <class T>
Floats sigmoid(Floats x) {
  return simd::reciprocal<T>(1.0f + simd::exp_for<T>(-x));
}

}  // namespace

void swiglu_forward(device::Context&, const SwigluForward& a) {
  const std::int64_t width = a.out.cols;
  ESPALIER_ASSERT(a.gate_up.rows == a.out.rows && a.gate_up.cols == 2 * width, "gate_up {}, out {}",
                  describe(a.gate_up), describe(a.out));
  dispatch(a.out.dtype, [&]<class T>(T) {
    host_for_ranges(a.out.rows, 1, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t t = begin; t < end; ++t) {
        const T* gate = a.gate_up.as<T>(t);
        const T* up = gate + width;
        T* out = a.out.as<T>(t);
        simd::for_lanes(width, [&](std::int64_t c, auto lanes) {
          const Floats g = simd::load(gate + c, lanes);
          simd::store(out + c, g * sigmoid<T>(g) * simd::load(up + c, lanes), lanes);
        });
      }
    });
  });
}

void swiglu_backward(device::Context&, const SwigluBackward& a) {
  const std::int64_t width = a.d_out.cols;
  ESPALIER_ASSERT(a.gate_up.rows == a.d_out.rows && a.gate_up.cols == 2 * width &&
                      a.d_gate_up.rows == a.d_out.rows && a.d_gate_up.cols == 2 * width &&
                      a.out.rows == a.d_out.rows && a.out.cols == width,
                  "gate_up {}, d_out {}, d_gate_up {}, out {}", describe(a.gate_up),
                  describe(a.d_out), describe(a.d_gate_up), describe(a.out));
  dispatch(a.d_out.dtype, [&]<class T>(T) {
    host_for_ranges(a.d_out.rows, 1, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t t = begin; t < end; ++t) {
        const T* gate = a.gate_up.as<T>(t);
        const T* d_out = a.d_out.as<T>(t);
        T* d_gate = a.d_gate_up.as<T>(t);
        T* out = a.out.as<T>(t);
        // Every element is loaded before its place is written: the outputs may alias the inputs.
        simd::for_lanes(width, [&](std::int64_t c, auto lanes) {
          const Floats g = simd::load(gate + c, lanes);
          const Floats u = simd::load(gate + width + c, lanes);
          const Floats d = simd::load(d_out + c, lanes);
          const Floats s = sigmoid<T>(g);
          const Floats silu = g * s;
          simd::store(d_gate + c, d * u * (s + silu * (1.0f - s)), lanes);
          simd::store(d_gate + width + c, d * silu, lanes);
          simd::store(out + c, silu * u, lanes);
        });
      }
    });
  });
}

}  // namespace espalier::kernels::host::ESPALIER_SIMD
