#include "kernels/moe/router.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/host_loops.hpp"
#include "kernels/backends.hpp"
#include "kernels/dispatch.hpp"
#include "kernels/moe/router_shapes.hpp"

// Last: what follows is compiled for one SIMD level.
#include "base/simd/simd.hpp"

namespace espalier::kernels::host::ESPALIER_SIMD {
namespace {

using simd::Floats;

/// In place, from logits to probabilities; returns log(sum(exp(logits))).
float softmax(const float* logits, float* probabilities, std::int64_t count) {
  Floats maxima = simd::splat(-std::numeric_limits<float>::infinity());
  simd::for_lanes(count, [&](std::int64_t c, auto lanes) {
    maxima = simd::max(maxima, simd::keep(simd::load(logits + c, lanes), lanes, maxima));
  });
  const float maximum = simd::maximum(maxima);
  Floats sums{};
  simd::for_lanes(count, [&](std::int64_t c, auto lanes) {
    const Floats e = simd::exp(simd::load(logits + c, lanes) - maximum);
    simd::store(probabilities + c, e, lanes);
    sums += simd::keep(e, lanes, Floats{});
  });
  const float sum = simd::sum(sums);
  const Floats factor = simd::splat(1.0f / sum);
  simd::for_lanes(count, [&](std::int64_t c, auto lanes) {
    simd::store(probabilities + c, simd::load(probabilities + c, lanes) * factor, lanes);
  });
  return std::log(sum) + maximum;
}

/// The `k` largest scores, the largest first, of equals the first.
void choose(const float* probabilities, const float* bias, std::int64_t count, std::int64_t k,
            std::int32_t* chosen) {
  const auto score = [&](std::int64_t e) {
    const float s = bias == nullptr ? probabilities[e] : probabilities[e] + bias[e];
    return std::isnan(s) ? -std::numeric_limits<float>::infinity() : s;
  };
  std::int64_t num = 0;
  for (std::int64_t e = 0; e < count; ++e) {
    const float s = score(e);
    std::int64_t place = num;
    while (place > 0 && s > score(chosen[place - 1])) --place;
    if (place == k) continue;
    num = std::min(num + 1, k);
    std::copy_backward(chosen + place, chosen + num - 1, chosen + num);
    chosen[place] = static_cast<std::int32_t>(e);
  }
}

/// <a, b> of `count` floats.
float product(const float* a, const float* b, std::int64_t count) {
  Floats sums{};
  simd::for_lanes(count, [&](std::int64_t c, auto lanes) {
    sums += simd::keep(simd::load(a + c, lanes) * simd::load(b + c, lanes), lanes, Floats{});
  });
  return simd::sum(sums);
}

}  // namespace

void router_forward(device::Context&, const RouterForward& a) {
  check_shapes(a);
  const std::int64_t num_experts = a.logits.cols;
  const std::int64_t k = a.experts.cols;
  const float* bias = a.bias.exists() ? a.bias.as<float>() : nullptr;
  host_for_ranges(a.logits.rows, 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t t = begin; t < end; ++t) {
      float* probabilities = a.probabilities.as<float>(t);
      a.log_sum_exp.as<float>()[t] = softmax(a.logits.as<float>(t), probabilities, num_experts);
      auto* experts = a.experts.as<std::int32_t>(t);
      choose(probabilities, bias, num_experts, k, experts);
      float* weights = a.weights.as<float>(t);
      float sum = 0.0f;
      for (std::int64_t j = 0; j < k; ++j) sum += weights[j] = probabilities[experts[j]];
      if (!a.normalize) continue;
      for (std::int64_t j = 0; j < k; ++j) weights[j] /= sum;
    }
  });
}

void router_backward(device::Context&, const RouterBackward& a) {
  check_shapes(a);
  const std::int64_t num_experts = a.probabilities.cols;
  const std::int64_t k = a.experts.cols;
  dispatch(a.d_logits.dtype, [&]<class T>(T) {
    host_for_ranges(a.probabilities.rows, 1, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t t = begin; t < end; ++t) {
        const float* p = a.probabilities.as<float>(t);
        const auto* experts = a.experts.as<std::int32_t>(t);
        const float* weights = a.weights.as<float>(t);
        const float* d_weights = a.d_weights.as<float>(t);
        T* out = a.d_logits.as<T>(t);
        float mean = 0.0f;  // <w, d_weights>, or <p, s>
        for (std::int64_t j = 0; j < k; ++j) mean += weights[j] * d_weights[j];
        const float* n =
            a.counts.exists() ? a.counts.as<float>(counts_row(a.counts, a.place, t)) : nullptr;
        const float balance = n != nullptr ? a.balance_scale : 0.0f;
        const float pn = n != nullptr ? product(p, n, num_experts) : 0.0f;
        // Of every expert: p times this, and balance_scale * n.
        const float common =
            a.z_scale * a.log_sum_exp.as<float>()[t] - balance * pn - (a.normalize ? 0.0f : mean);
        // The choices are added after the row has been written, whose input it may be.
        float chosen[kMaxExpertsPerToken];
        for (std::int64_t j = 0; j < k; ++j) {
          const float pe = p[experts[j]];
          const float dense = pe * (common + (n != nullptr ? balance * n[experts[j]] : 0.0f));
          chosen[j] =
              dense + (a.normalize ? weights[j] * (d_weights[j] - mean) : pe * d_weights[j]);
        }
        simd::for_lanes(num_experts, [&](std::int64_t c, auto lanes) {
          Floats factor = simd::splat(common);
          if (n != nullptr) factor += balance * simd::load(n + c, lanes);
          simd::store(out + c, simd::load(p + c, lanes) * factor, lanes);
        });
        for (std::int64_t j = 0; j < k; ++j) out[experts[j]] = T(chosen[j]);
      }
    });
  });
}

void balance_loss(device::Context&, const BalanceLoss& a) {
  check_shapes(a);
  constexpr std::int64_t kSlice = 64;  // tokens
  const std::int64_t num_tokens = a.probabilities.rows;
  double* sums = a.sums.as<double>();
  if (a.counts.exists())
    sums[0] += double{a.balance_scale} *
               host_sum(num_tokens, kSlice, [&](std::int64_t begin, std::int64_t end) {
                 double part = 0.0;
                 for (std::int64_t t = begin; t < end; ++t)
                   part += double{product(a.probabilities.as<float>(t),
                                          a.counts.as<float>(counts_row(a.counts, a.place, t)),
                                          a.probabilities.cols)};
                 return part;
               });
  const float* log_sum_exp = a.log_sum_exp.as<float>();
  sums[1] += 0.5 * double{a.z_scale} *
             host_sum(num_tokens, kSlice, [&](std::int64_t begin, std::int64_t end) {
               double part = 0.0;
               for (std::int64_t t = begin; t < end; ++t)
                 part += double{log_sum_exp[t]} * double{log_sum_exp[t]};
               return part;
             });
}

}  // namespace espalier::kernels::host::ESPALIER_SIMD
