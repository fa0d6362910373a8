#include <algorithm>
#include <cmath>
#include <numbers>
#include <vector>

#include "base/error.hpp"
#include "base/host_loops.hpp"
#include "kernels/attention/qk_norm_rope.hpp"

// Every step is rounded as transformers rounds it: what it computes with tensors in fp32, what it
// computes with Python's numbers in fp64. A frequency that is off by one bit turns late positions
// by an angle that shows in the logits.

namespace espalier::kernels {
namespace {

/// Through memory, so that the compiler cannot fuse a product with the sum that follows.
float product(float x, float y) {
  volatile float rounded = x * y;
  return rounded;
}

/// Base of the powers for a sequence of `length` tokens (`_compute_dynamic_ntk_parameters`).
float base_of(const RopeFrequencies& r, std::int64_t head_dim, std::int64_t length) {
  const RopeScaling& s = r.scaling;
  if (s.type != RopeType::dynamic) return static_cast<float>(r.theta);
  const auto original = static_cast<double>(s.original_positions);
  const double exponent = static_cast<double>(head_dim) / static_cast<double>(head_dim - 2);
  if (length <= s.original_positions)  // the length is then a number of Python
    return static_cast<float>(
        r.theta * std::pow(s.factor * original / original - (s.factor - 1.0), exponent));
  const float stretch = product(static_cast<float>(length), static_cast<float>(s.factor)) /
                            static_cast<float>(original) -
                        static_cast<float>(s.factor - 1.0);
  // torch raises a tensor of fp32 to a number of Python in fp64.
  const auto grown = static_cast<float>(std::pow(static_cast<double>(stretch), exponent));
  return static_cast<float>(r.theta) * grown;
}

/// Of `_compute_llama3_parameters`.
float llama3_frequency(const RopeScaling& s, float frequency) {
  const auto original = static_cast<double>(s.original_positions);
  const auto factor = static_cast<float>(s.factor);
  const float wavelength = (1.0f / frequency) * static_cast<float>(2.0 * std::numbers::pi);
  if (wavelength > static_cast<float>(original / s.low_freq_factor)) return frequency / factor;
  if (wavelength < static_cast<float>(original / s.high_freq_factor)) return frequency;
  const float blend = (product(1.0f / wavelength, static_cast<float>(original)) -
                       static_cast<float>(s.low_freq_factor)) /
                      static_cast<float>(s.high_freq_factor - s.low_freq_factor);
  return product(1.0f - blend, frequency) / factor + product(blend, frequency);
}

/// Of `_compute_yarn_parameters`; `power` is theta^(2i/D).
float yarn_frequency(const RopeFrequencies& r, std::int64_t i, std::int64_t head_dim, float power) {
  const RopeScaling& s = r.scaling;
  const auto dim = static_cast<double>(head_dim);
  // The i whose frequency turns so often within the original length.
  const auto at_rotations = [&](double rotations) {
    return dim *
           std::log(static_cast<double>(s.original_positions) /
                    (rotations * 2.0 * std::numbers::pi)) /
           (2.0 * std::log(r.theta));
  };
  double low = at_rotations(s.beta_fast);
  double high = at_rotations(s.beta_slow);
  if (s.truncate) {
    low = std::floor(low);
    high = std::ceil(high);
  }
  low = std::max(low, 0.0);
  high = std::min(high, dim - 1.0);
  if (low == high) high += 0.001;
  const float ramp =
      std::clamp((static_cast<float>(i) - static_cast<float>(low)) / static_cast<float>(high - low),
                 0.0f, 1.0f);
  const float kept = 1.0f - ramp;
  return product(1.0f / product(static_cast<float>(s.factor), power), 1.0f - kept) +
         product(1.0f / power, kept);
}

/// Frequency i of head_dim / 2. torch divides a number by a tensor as reciprocal and product.
float rope_frequency(const RopeFrequencies& r, std::int64_t i, std::int64_t head_dim, float base) {
  const float exponent = static_cast<float>(2 * i) / static_cast<float>(head_dim);
  const float power = std::pow(base, exponent);
  const float frequency = 1.0f / power;
  switch (r.scaling.type) {
    case RopeType::linear:
      return frequency / static_cast<float>(r.scaling.factor);
    case RopeType::yarn:
      return yarn_frequency(r, i, head_dim, power);
    case RopeType::llama3:
      return llama3_frequency(r.scaling, frequency);
    case RopeType::standard:
    case RopeType::dynamic:
      break;
  }
  return frequency;
}

}  // namespace

void fill_rope_table(device::Context& context, const RopeTable& table, std::int64_t head_dim,
                     const RopeFrequencies& frequencies, std::int64_t first_position) {
  const std::int64_t half = head_dim / 2;
  ESPALIER_ASSERT(
      table.cos.cols == half && table.sin.cols == half && table.cos.rows == table.sin.rows,
      "cos {}, sin {}, head_dim {}", describe(table.cos), describe(table.sin), head_dim);
  if (context.is_counting()) return;
  std::vector<float> cosines(static_cast<std::size_t>(table.cos.size()));
  std::vector<float> sines(cosines.size());
  const float base = base_of(frequencies, head_dim, first_position + table.cos.rows);
  const RopeScaling& scaling = frequencies.scaling;
  const auto factor =
      static_cast<float>(scaling.type == RopeType::yarn ? scaling.attention_factor : 1.0);
  host_for_ranges(table.cos.rows, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t i = 0; i < half; ++i) {
      const float frequency = rope_frequency(frequencies, i, head_dim, base);
      for (std::int64_t row = begin; row < end; ++row) {
        const float angle = static_cast<float>(first_position + row) * frequency;
        cosines[static_cast<std::size_t>(row * half + i)] = std::cos(angle) * factor;
        sines[static_cast<std::size_t>(row * half + i)] = std::sin(angle) * factor;
      }
    }
  });
  context.upload(table.cos, cosines.data());
  context.upload(table.sin, sines.data());
}

}  // namespace espalier::kernels
