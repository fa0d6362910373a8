#pragma once
#include <cstdint>

#include "config/parameters.hpp"

namespace espalier::optim {

/// Learning rate of step `step` (from 1) of a run of `total_steps`: linear warm-up over
/// warmup_steps (step / warmup_steps * peak), then
///   constant                peak
///   linear, cosine          from peak at the end of warm-up to min_learning_rate at total_steps
///   warmup_stable_decay     peak, and over the last decay_steps linearly to min_learning_rate
double learning_rate_at(const config::OptimizerParameters& optimizer,
                        const config::ScheduleParameters& schedule, std::int64_t step,
                        std::int64_t total_steps);

}  // namespace espalier::optim
