#include "kernels/norm/layernorm.hpp"

#include <cmath>

#include "base/host_loops.hpp"
#include "kernels/backends.hpp"
#include "kernels/dispatch.hpp"
#include "kernels/norm/norm_shapes.hpp"

// Last: what follows is compiled for one SIMD level.
#include "base/simd/simd.hpp"
#include "kernels/long_sum.hpp"
#include "kernels/row_sums.hpp"

namespace espalier::kernels::host::ESPALIER_SIMD {
namespace {

using simd::Floats;

template <class T>
void forward_row(const LayerNormForward& a, std::int64_t t) {
  const std::int64_t width = a.x.cols;
  const T* r = a.x.as<T>(t);
  LongSum sums;
  if (a.delta.exists()) {
    const T* x = r;
    const T* delta = a.delta.as<T>(t);
    T* residual = a.residual.as<T>(t);
    simd::for_lanes(width, [&](std::int64_t c, auto lanes) {
      const Floats sum =
          simd::rounded_to<T>(simd::load(x + c, lanes) + simd::load(delta + c, lanes));
      simd::store(residual + c, sum, lanes);
      sums.add(sum);
    });
    r = residual;
  } else {
    simd::for_lanes(width, [&](std::int64_t c, auto lanes) { sums.add(simd::load(r + c, lanes)); });
  }
  const float mean = sums.total() / static_cast<float>(width);
  LongSum squares;
  simd::for_lanes(width, [&](std::int64_t c, auto lanes) {
    const Floats deviation = simd::keep(simd::load(r + c, lanes) - mean, lanes, Floats{});
    squares.add_product(deviation, deviation);
  });
  const float inverse_std = 1.0f / std::sqrt(squares.total() / static_cast<float>(width) + a.eps);
  a.statistics.as<float>(0)[t] = mean;
  a.statistics.as<float>(1)[t] = inverse_std;
  const T* weight = a.weight.as<T>();
  const T* bias = a.bias.as<T>();
  T* y = a.y.as<T>(t);
  simd::for_lanes(width, [&](std::int64_t c, auto lanes) {
    const Floats normalised = (simd::load(r + c, lanes) - mean) * inverse_std;
    simd::store(y + c,
                simd::fma(normalised, simd::load(weight + c, lanes), simd::load(bias + c, lanes)),
                lanes);
  });
}

template <class T>
void backward_row(const LayerNormBackward& a, std::int64_t t, float* d_weight, float* d_bias) {
  const std::int64_t width = a.x.cols;
  const T* dy = a.dy.as<T>(t);
  const T* x = a.x.as<T>(t);
  const T* weight = a.weight.as<T>();
  const T* d_residual = a.d_residual.exists() ? a.d_residual.as<T>(t) : nullptr;
  T* dx = a.dx.as<T>(t);
  const float mean = a.statistics.as<float>(0)[t];
  const float inverse_std = a.statistics.as<float>(1)[t];
  Floats gradients{};
  Floats products{};
  simd::for_lanes(width, [&](std::int64_t c, auto lanes) {
    const Floats gradient = simd::load(dy + c, lanes);  // zero past the row's end
    const Floats normalised = (simd::load(x + c, lanes) - mean) * inverse_std;
    const Floats product = gradient * normalised;
    const Floats w = simd::load(weight + c, lanes);
    simd::store(d_weight + c, simd::load(d_weight + c) + product);
    simd::store(d_bias + c, simd::load(d_bias + c) + gradient);
    gradients = simd::fma(gradient, w, gradients);
    products = simd::fma(product, w, products);
  });
  const float mean_gradient = simd::sum(gradients) / static_cast<float>(width);
  const float mean_product = simd::sum(products) / static_cast<float>(width);
  simd::for_lanes(width, [&](std::int64_t c, auto lanes) {
    const Floats g = simd::load(dy + c, lanes) * simd::load(weight + c, lanes);
    const Floats normalised = (simd::load(x + c, lanes) - mean) * inverse_std;
    Floats result = (g - mean_gradient - normalised * mean_product) * inverse_std;
    if (d_residual != nullptr) result += simd::load(d_residual + c, lanes);
    simd::store(dx + c, result, lanes);
  });
}

}  // namespace

void layernorm_forward(device::Context&, const LayerNormForward& a) {
  require_shapes(a);
  dispatch(a.x.dtype, [&]<class T>(T) {
    host_for_ranges(a.x.rows, 1, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t t = begin; t < end; ++t) forward_row<T>(a, t);
    });
  });
}

void layernorm_backward(device::Context& context, const LayerNormBackward& a) {
  require_shapes(a);
  dispatch(a.x.dtype, [&]<class T>(T) {
    sum_over_row_slices(context, a.x.rows, a.x.cols,
                        std::array{a.d_weight.as<float>(), a.d_bias.as<float>()},
                        [&](std::int64_t begin, std::int64_t end, std::array<float*, 2> partial) {
                          for (std::int64_t t = begin; t < end; ++t)
                            backward_row<T>(a, t, partial[0], partial[1]);
                        });
  });
}

}  // namespace espalier::kernels::host::ESPALIER_SIMD
