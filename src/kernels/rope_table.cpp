#include <cmath>
#include <numbers>
#include <vector>

#include "base/error.hpp"
#include "base/host_loops.hpp"
#include "kernels/qk_norm_rope.hpp"

namespace espalier::kernels {
namespace {

/// Frequency i of head_dim / 2. Each step in fp32, as transformers rounds it; torch divides a
/// number by a tensor as reciprocal and product.
float rope_frequency(const RopeFrequencies& r, std::int64_t i, std::int64_t head_dim) {
  const float exponent = static_cast<float>(2 * i) / static_cast<float>(head_dim);
  const float frequency = 1.0f / std::pow(static_cast<float>(r.theta), exponent);
  if (r.factor <= 0.0) return frequency;
  const auto original = static_cast<double>(r.original_positions);
  const auto factor = static_cast<float>(r.factor);
  const float wavelength = (1.0f / frequency) * static_cast<float>(2.0 * std::numbers::pi);
  if (wavelength > static_cast<float>(original / r.low_freq_factor)) return frequency / factor;
  if (wavelength < static_cast<float>(original / r.high_freq_factor)) return frequency;
  // Through memory, so that the compiler cannot fuse a product with the sum that follows.
  const auto product = [](float x, float y) {
    volatile float rounded = x * y;
    return rounded;
  };
  const float blend = (product(1.0f / wavelength, static_cast<float>(original)) -
                       static_cast<float>(r.low_freq_factor)) /
                      static_cast<float>(r.high_freq_factor - r.low_freq_factor);
  return product(1.0f - blend, frequency) / factor + product(blend, frequency);
}

}  // namespace

void fill_rope_table(device::Context& context, const RopeTable& table, std::int64_t head_dim,
                     const RopeFrequencies& frequencies) {
  const std::int64_t half = head_dim / 2;
  ESPALIER_ASSERT(
      table.cos.cols == half && table.sin.cols == half && table.cos.rows == table.sin.rows,
      "cos {}, sin {}, head_dim {}", describe(table.cos), describe(table.sin), head_dim);
  std::vector<float> cosines(static_cast<std::size_t>(table.cos.size()));
  std::vector<float> sines(cosines.size());
  host_for_ranges(table.cos.rows, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = 0; i < half; ++i) {
      const float frequency = rope_frequency(frequencies, i, head_dim);
      for (std::int64_t position = begin; position < end; ++position) {
        const float angle = static_cast<float>(position) * frequency;
        cosines[static_cast<std::size_t>(position * half + i)] = std::cos(angle);
        sines[static_cast<std::size_t>(position * half + i)] = std::sin(angle);
      }
    }
  });
  context.upload(table.cos, cosines.data());
  context.upload(table.sin, sines.data());
}

}  // namespace espalier::kernels
