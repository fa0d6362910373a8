#include <cmath>

#include "base/host_loops.hpp"
#include "kernels/backends.hpp"
#include "kernels/dispatch.hpp"
#include "kernels/norm/norm_shapes.hpp"
#include "kernels/norm/rmsnorm.hpp"

// Last: what follows is compiled for one SIMD level.
#include "base/simd/simd.hpp"
#include "kernels/long_sum.hpp"
#include "kernels/row_sums.hpp"

namespace espalier::kernels::host::ESPALIER_SIMD {
namespace {

using simd::Floats;

template <class T>
void forward_row(const RmsNormForward& a, std::int64_t t) {
  const std::int64_t width = a.x.cols;
  const T* r = a.x.as<T>(t);
  LongSum squares;
  if (a.delta.exists()) {
    const T* x = r;
    const T* delta = a.delta.as<T>(t);
    T* residual = a.residual.as<T>(t);
    simd::for_lanes(width, [&](std::int64_t c, auto lanes) {
      const Floats sum =
          simd::rounded_to<T>(simd::load(x + c, lanes) + simd::load(delta + c, lanes));
      simd::store(residual + c, sum, lanes);
      squares.add_product(sum, sum);
    });
    r = residual;
  } else {
    simd::for_lanes(width, [&](std::int64_t c, auto lanes) {
      const Floats x = simd::load(r + c, lanes);
      squares.add_product(x, x);
    });
  }
  const float inverse_rms = 1.0f / std::sqrt(squares.total() / static_cast<float>(width) + a.eps);
  a.inverse_rms.as<float>()[t] = inverse_rms;
  const T* weight = a.weight.as<T>();
  T* y = a.y.as<T>(t);
  simd::for_lanes(width, [&](std::int64_t c, auto lanes) {
    const Floats normalised = simd::rounded_to<T>(simd::load(r + c, lanes) * inverse_rms);
    simd::store(y + c, normalised * simd::load(weight + c, lanes), lanes);
  });
}

template <class T>
void backward_row(const RmsNormBackward& a, std::int64_t t, float* d_weight) {
  const std::int64_t width = a.x.cols;
  const T* dy = a.dy.as<T>(t);
  const T* x = a.x.as<T>(t);
  const T* weight = a.weight.as<T>();
  const T* d_residual = a.d_residual.exists() ? a.d_residual.as<T>(t) : nullptr;
  T* dx = a.dx.as<T>(t);
  const float inverse_rms = a.inverse_rms.as<float>()[t];
  // With n = x * inverse_rms and g = dy * weight: dx = inverse_rms * (g - n * mean(g n)).
  Floats products{};
  simd::for_lanes(width, [&](std::int64_t c, auto lanes) {
    const Floats gradient = simd::load(dy + c, lanes);
    const Floats normalised = simd::load(x + c, lanes) * inverse_rms;
    const Floats product = gradient * normalised;
    simd::store(d_weight + c, simd::load(d_weight + c) + product);
    products = simd::fma(product, simd::load(weight + c, lanes), products);
  });
  const float mean = simd::sum(products) / static_cast<float>(width);
  const float slope = mean * inverse_rms * inverse_rms;
  simd::for_lanes(width, [&](std::int64_t c, auto lanes) {
    const Floats g = simd::load(dy + c, lanes) * simd::load(weight + c, lanes);
    Floats result = g * inverse_rms - simd::load(x + c, lanes) * slope;
    if (d_residual != nullptr) result += simd::load(d_residual + c, lanes);
    simd::store(dx + c, result, lanes);
  });
}

}  // namespace

void rmsnorm_forward(device::Context&, const RmsNormForward& a) {
  require_shapes(a);
  dispatch(a.x.dtype, [&]<class T>(T) {
    host_for_ranges(a.x.rows, 1, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t t = begin; t < end; ++t) forward_row<T>(a, t);
    });
  });
}

void rmsnorm_backward(device::Context& context, const RmsNormBackward& a) {
  require_shapes(a);
  dispatch(a.x.dtype, [&]<class T>(T) {
    sum_over_row_slices(context, a.x.rows, a.x.cols, a.d_weight.as<float>(),
                        [&](std::int64_t begin, std::int64_t end, float* partial) {
                          for (std::int64_t t = begin; t < end; ++t) backward_row<T>(a, t, partial);
                        });
  });
}

}  // namespace espalier::kernels::host::ESPALIER_SIMD
