#include "optim/schedule.hpp"

#include <algorithm>
#include <cmath>
#include <numbers>

#include "base/error.hpp"

namespace espalier::optim {
namespace {

/// How far `step` has come from `begin` to `end`, in [0, 1]; 1 when there is no way to go.
double progress(std::int64_t step, std::int64_t begin, std::int64_t end) {
  if (step >= end) return 1.0;
  return std::max(0.0, static_cast<double>(step - begin) / static_cast<double>(end - begin));
}

}  // namespace

double learning_rate_at(const config::OptimizerParameters& optimizer,
                        const config::ScheduleParameters& schedule, std::int64_t step,
                        std::int64_t total_steps) {
  const double peak = optimizer.learning_rate;
  const double last = schedule.min_learning_rate;
  const std::int64_t warmup = schedule.warmup_steps;
  if (step <= warmup && warmup > 0)
    return peak * static_cast<double>(step) / static_cast<double>(warmup);

  if (schedule.name == "constant") return peak;
  if (schedule.name == "cosine") {
    const double p = progress(step, warmup, total_steps);
    return last + (peak - last) * 0.5 * (1.0 + std::cos(std::numbers::pi * p));
  }
  if (schedule.name == "linear") {
    return std::lerp(peak, last, progress(step, warmup, total_steps));
  }
  if (schedule.name == "warmup_stable_decay") {
    if (schedule.decay_steps == 0) return peak;
    const std::int64_t begin = std::max(warmup, total_steps - schedule.decay_steps);
    return std::lerp(peak, last, progress(step, begin, total_steps));
  }
  fail(ExitStatus::bad_configuration, "schedule.name = \"{}\" is not a schedule", schedule.name);
}

}  // namespace espalier::optim
