#pragma once
#include <cstdint>
#include <span>

#include "device/context.hpp"
#include "device/view.hpp"

namespace espalier::kernels {

/// One AdamW step on a rectangle (Loshchilov & Hutter 2019, as torch.optim.AdamW):
///   g = gradient * gradient_scale;  m = b1 m + (1-b1) g;  v = b2 v + (1-b2) g^2
///   p -= lr * weight_decay * p;  p -= lr * (m / (1-b1^t)) / (sqrt(v / (1-b2^t)) + eps)
/// in fp32, then weight = p rounded to its dtype. Cost: 30 bytes per parameter (bf16 weight).
struct AdamW {
  device::ConstView gradient;  ///< (r, c) f32
  device::View master, m, v;   ///< (r, c) f32
  device::View weight;         ///< (r, c) training dtype
  float learning_rate;
  float beta1, beta2, eps, weight_decay;
  float gradient_scale;  ///< clipping factor
  std::int64_t step;     ///< t, from 1
};
/// Steps on several rectangles that do not overlap.
void adamw(device::Context& context, std::span<const AdamW> rectangles);

}  // namespace espalier::kernels
