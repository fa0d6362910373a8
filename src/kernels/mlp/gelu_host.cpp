#include "kernels/mlp/gelu.hpp"

#include "base/host_loops.hpp"
#include "kernels/backends.hpp"
#include "kernels/dispatch.hpp"

// Last: what follows is compiled for one SIMD level.
#include "base/simd/simd.hpp"

namespace espalier::kernels::host::ESPALIER_SIMD {
namespace {

using simd::Floats;
constexpr float kCubic = 0.044715f;
constexpr float kTwoRootTwoOverPi = 1.5957691216057308f;  // 2 sqrt(2 / pi)

/// sigmoid(2 u(x))
template <class T>
Floats gate(Floats x, Floats square) {
  const Floats twice_u = x * kTwoRootTwoOverPi * (1.0f + kCubic * square);
  return simd::reciprocal<T>(1.0f + simd::exp_for<T>(-twice_u));
}

}  // namespace

void gelu_forward(device::Context&, const GeluForward& a) {
  ESPALIER_ASSERT(a.x.rows == a.out.rows && a.x.cols == a.out.cols, "x {}, out {}", describe(a.x),
                  describe(a.out));
  dispatch(a.out.dtype, [&]<class T>(T) {
    host_for_ranges(a.out.rows, 1, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t t = begin; t < end; ++t) {
        const T* in = a.x.as<T>(t);
        T* out = a.out.as<T>(t);
        simd::for_lanes(a.out.cols, [&](std::int64_t c, auto lanes) {
          const Floats x = simd::load(in + c, lanes);
          simd::store(out + c, x * gate<T>(x, x * x), lanes);
        });
      }
    });
  });
}

void gelu_backward(device::Context&, const GeluBackward& a) {
  ESPALIER_ASSERT(a.x.rows == a.d_out.rows && a.x.cols == a.d_out.cols && a.d_x.rows == a.x.rows &&
                      a.d_x.cols == a.x.cols && a.out.rows == a.x.rows && a.out.cols == a.x.cols,
                  "x {}, d_out {}, d_x {}, out {}", describe(a.x), describe(a.d_out),
                  describe(a.d_x), describe(a.out));
  dispatch(a.d_out.dtype, [&]<class T>(T) {
    host_for_ranges(a.d_out.rows, 1, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t t = begin; t < end; ++t) {
        const T* in = a.x.as<T>(t);
        const T* d_out = a.d_out.as<T>(t);
        T* d_x = a.d_x.as<T>(t);
        T* out = a.out.as<T>(t);
        // Every element is loaded before its place is written: the outputs may alias the inputs.
        simd::for_lanes(a.out.cols, [&](std::int64_t c, auto lanes) {
          const Floats x = simd::load(in + c, lanes);
          const Floats d = simd::load(d_out + c, lanes);
          const Floats square = x * x;
          const Floats s = gate<T>(x, square);
          const Floats value = x * s;
          const Floats twice_slope = kTwoRootTwoOverPi * (1.0f + 3.0f * kCubic * square);
          simd::store(d_x + c, d * (s + value * (1.0f - s) * twice_slope), lanes);
          simd::store(out + c, value, lanes);
        });
      }
    });
  });
}

}  // namespace espalier::kernels::host::ESPALIER_SIMD
