#include "kernels/optim/adamw.hpp"

#include <cmath>

#include "base/host_loops.hpp"
#include "kernels/backends.hpp"
#include "kernels/dispatch.hpp"

// Last: what follows is compiled for one SIMD level.
#include "base/simd/simd.hpp"

namespace espalier::kernels::host::ESPALIER_SIMD {
namespace {

using simd::Floats;

/// The factors of one step. The corrections of the bias are taken in fp64, where 1 - b2^t of the
/// first steps keeps its digits.
struct Factors {
  float decay;                    ///< 1 - lr * weight_decay
  float step_size;                ///< lr / (1 - b1^t)
  float inverse_root_correction;  ///< 1 / sqrt(1 - b2^t)
};

template <class T>
void update(const AdamW& a, const Factors& f, std::int64_t row, std::int64_t first,
            std::int64_t count) {
  const float* gradient = a.gradient.as<float>(row) + first;
  float* master = a.master.as<float>(row) + first;
  float* first_moment = a.m.as<float>(row) + first;
  float* second_moment = a.v.as<float>(row) + first;
  T* weight = a.weight.as<T>(row) + first;
  simd::for_lanes(count, [&](std::int64_t c, auto lanes) {
    const Floats g = simd::load(gradient + c, lanes) * a.gradient_scale;
    const Floats m = simd::load(first_moment + c, lanes) * a.beta1 + g * (1.0f - a.beta1);
    const Floats v = simd::load(second_moment + c, lanes) * a.beta2 + g * g * (1.0f - a.beta2);
    const Floats p = simd::load(master + c, lanes) * f.decay -
                     f.step_size * m / (simd::sqrt(v) * f.inverse_root_correction + a.eps);
    simd::store(first_moment + c, m, lanes);
    simd::store(second_moment + c, v, lanes);
    simd::store(master + c, p, lanes);
    simd::store(weight + c, p, lanes);
  });
}

void step(const AdamW& a) {
  const auto fits = [&](const device::ConstView& view) {
    return view.rows == a.gradient.rows && view.cols == a.gradient.cols;
  };
  ESPALIER_ASSERT(fits(a.master) && fits(a.m) && fits(a.v) && fits(a.weight),
                  "gradient {}, master {}, m {}, v {}, weight {}", describe(a.gradient),
                  describe(a.master), describe(a.m), describe(a.v), describe(a.weight));
  const auto t = static_cast<double>(a.step);
  const double lr = a.learning_rate;
  const Factors factors{
      static_cast<float>(1.0 - lr * static_cast<double>(a.weight_decay)),
      static_cast<float>(lr / (1.0 - std::pow(static_cast<double>(a.beta1), t))),
      static_cast<float>(1.0 / std::sqrt(1.0 - std::pow(static_cast<double>(a.beta2), t)))};
  std::int64_t rows = a.gradient.rows;
  std::int64_t cols = a.gradient.cols;
  if (a.gradient.is_contiguous() && a.master.is_contiguous() && a.m.is_contiguous() &&
      a.v.is_contiguous() && a.weight.is_contiguous()) {
    cols *= rows;
    rows = cols > 0 ? 1 : 0;
  }
  constexpr std::int64_t kPart = 16384;
  const std::int64_t parts = (cols + kPart - 1) / kPart;
  dispatch(a.weight.dtype, [&]<class T>(T) {
    host_for_ranges(rows * parts, 1, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t i = begin; i < end; ++i) {
        const std::int64_t first = i % parts * kPart;
        update<T>(a, factors, i / parts, first, std::min(kPart, cols - first));
      }
    });
  });
}

}  // namespace

void adamw(device::Context&, std::span<const AdamW> rectangles) {
  for (const AdamW& a : rectangles) step(a);
}

}  // namespace espalier::kernels::host::ESPALIER_SIMD
