#include "kernels/loss/cross_entropy.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "base/host_loops.hpp"
#include "kernels/backends.hpp"
#include "kernels/dispatch.hpp"

// Last: what follows is compiled for one SIMD level.
#include "base/simd/simd.hpp"

namespace espalier::kernels::host::ESPALIER_SIMD {
namespace {

using simd::Floats;
constexpr float kInfinity = std::numeric_limits<float>::infinity();

struct MaximumAndSum {
  float maximum = -kInfinity;
  float sum = 0.0f;
};

/// Online softmax over parts that stay in the first-level cache: one pass through memory.
template <class T>
MaximumAndSum reduce_row(const T* logits, std::int64_t count) {
  constexpr std::int64_t kPart = 4096;
  MaximumAndSum row;
  for (std::int64_t first = 0; first < count; first += kPart) {
    const T* part = logits + first;
    const std::int64_t length = std::min(kPart, count - first);
    Floats maxima = simd::splat(row.maximum);
    simd::for_lanes(length, [&](std::int64_t c, auto lanes) {
      maxima = simd::max(maxima, simd::keep(simd::load(part + c, lanes), lanes, maxima));
    });
    const float maximum = simd::maximum(maxima);
    Floats sums{};
    simd::for_lanes(length, [&](std::int64_t c, auto lanes) {
      const Floats e = simd::exp_for<T>(simd::load(part + c, lanes) - maximum);
      sums += simd::keep(e, lanes, Floats{});
    });
    // exp(-inf) = 0 drops the empty sum before the first part. A NaN among the logits survives in
    // the sum even where the maximum has lost it.
    row.sum = row.sum * std::exp(row.maximum - maximum) + simd::sum(sums);
    row.maximum = maximum;
  }
  return row;
}

}  // namespace

void cross_entropy_statistics(device::Context&, const CrossEntropyStatistics& a) {
  ESPALIER_ASSERT(a.targets.cols == a.logits.rows && a.statistics.rows == a.logits.rows &&
                      a.statistics.cols == 3 && a.num_valid_cols <= a.logits.cols,
                  "logits {}, targets {}, statistics {}, {} valid columns", describe(a.logits),
                  describe(a.targets), describe(a.statistics), a.num_valid_cols);
  const auto* targets = a.targets.as<std::uint32_t>();
  dispatch(a.logits.dtype, [&]<class T>(T) {
    host_for_ranges(a.logits.rows, 1, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t t = begin; t < end; ++t) {
        const T* logits = a.logits.as<T>(t);
        const MaximumAndSum row = reduce_row(logits, a.num_valid_cols);
        const std::int64_t target = std::int64_t{targets[t]} - a.first_col;
        const bool here = targets[t] != kIgnoredTarget && target >= 0 && target < a.num_valid_cols;
        float* out = a.statistics.as<float>(t);
        out[0] = row.maximum;
        out[1] = row.sum;
        out[2] = here ? static_cast<float>(logits[target]) : 0.0f;
      }
    });
  });
}

void cross_entropy_combine(device::Context&, const CrossEntropyCombine& a) {
  const std::int64_t num_tokens = a.targets.cols;
  ESPALIER_ASSERT(a.statistics.rows == a.num_parts * num_tokens && a.statistics.cols == 3 &&
                      a.loss.cols == num_tokens && a.log_sum_exp.cols == num_tokens,
                  "{} parts, statistics {}, targets {}, loss {}", a.num_parts,
                  describe(a.statistics), describe(a.targets), describe(a.loss));
  const auto* targets = a.targets.as<std::uint32_t>();
  float* loss = a.loss.as<float>();
  float* log_sum_exp = a.log_sum_exp.as<float>();
  host_for_ranges(num_tokens, 64, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t t = begin; t < end; ++t) {
      float maximum = -kInfinity;
      for (std::int64_t p = 0; p < a.num_parts; ++p)
        maximum = std::max(maximum, a.statistics.as<float>(p * num_tokens + t)[0]);
      float sum = 0.0f;
      float target_logit = 0.0f;
      for (std::int64_t p = 0; p < a.num_parts; ++p) {
        const float* part = a.statistics.as<float>(p * num_tokens + t);
        sum += part[1] * std::exp(part[0] - maximum);
        target_logit += part[2];
      }
      log_sum_exp[t] = std::log(sum) + maximum;
      loss[t] = targets[t] == kIgnoredTarget ? 0.0f : log_sum_exp[t] - target_logit;
    }
  });
}

void cross_entropy_backward(device::Context&, const CrossEntropyBackward& a) {
  ESPALIER_ASSERT(a.targets.cols == a.logits.rows && a.log_sum_exp.cols == a.logits.rows &&
                      a.num_valid_cols <= a.logits.cols,
                  "logits {}, targets {}, log_sum_exp {}, {} valid columns", describe(a.logits),
                  describe(a.targets), describe(a.log_sum_exp), a.num_valid_cols);
  const auto* targets = a.targets.as<std::uint32_t>();
  const float* log_sum_exp = a.log_sum_exp.as<float>();
  dispatch(a.logits.dtype, [&]<class T>(T) {
    host_for_ranges(a.logits.rows, 1, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t t = begin; t < end; ++t) {
        T* row = a.logits.as<T>(t);
        if (targets[t] == kIgnoredTarget) {
          std::fill_n(row, a.logits.cols, T(0.0f));
          continue;
        }
        const std::int64_t target = std::int64_t{targets[t]} - a.first_col;
        const bool here = target >= 0 && target < a.num_valid_cols;
        const float target_logit = here ? static_cast<float>(row[target]) : 0.0f;
        simd::for_lanes(a.num_valid_cols, [&](std::int64_t c, auto lanes) {
          const Floats p = simd::exp_for<T>(simd::load(row + c, lanes) - log_sum_exp[t]);
          simd::store(row + c, p * a.scale, lanes);
        });
        if (here) row[target] = T((std::exp(target_logit - log_sum_exp[t]) - 1.0f) * a.scale);
        std::fill_n(row + a.num_valid_cols, a.logits.cols - a.num_valid_cols, T(0.0f));
      }
    });
  });
}

void add_losses(device::Context&, device::View sum, device::ConstView losses) {
  const float* loss = losses.as<float>();
  *sum.as<double>() += host_sum(losses.cols, 4096, [&](std::int64_t begin, std::int64_t end) {
    double part = 0.0;
    for (std::int64_t t = begin; t < end; ++t) part += static_cast<double>(loss[t]);
    return part;
  });
}

}  // namespace espalier::kernels::host::ESPALIER_SIMD
