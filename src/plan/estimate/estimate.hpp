#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "config/parameters.hpp"
#include "plan/time/step_time.hpp"

namespace espalier::plan {

/// What a run will need and do on one kind of device.
struct Estimate {
  std::int64_t ranks = 1;
  std::int64_t memory_bytes = 0;   ///< of the rank that needs most, libraries among them
  std::int64_t library_bytes = 0;  ///< of those, what CUDA and NCCL take
  bool fits = false;               ///< in hardware.memory_gib
  StepTime time;
  double checkpoint_share = 0.0;            ///< of the run's time that saving stalls it
  double tokens_per_second = 0.0;           ///< of all ranks, checkpoints among them
  double mfu_causal = 0.0, mfu_full = 0.0;  ///< of the data sheet's dense peak
  double hours = 0.0;                       ///< for training.steps, checkpoints among them
  double device_hours() const { return hours * static_cast<double>(ranks); }
};
/// Of resolved parameters, on the grid that they name.
Estimate estimate(const config::Parameters& parameters, const config::HardwareParameters& hardware);

/// A legal way to lay a run on `ranks` devices.
struct Layout {
  config::Parameters parameters;  ///< resolved: grid, micro-batch, recompute, ZeRO
  Estimate estimate;
};
/// Every legal layout of the run (tensor x data, micro-batch, recompute, ZeRO stage) on that many
/// devices, those that fit first, the fastest first. The keys that a layout decides (parallel.*,
/// training.micro_batch_size, memory.recompute) are not asked of the input.
std::vector<Layout> layouts(const config::Parameters& parameters,
                            const config::HardwareParameters& hardware, std::int64_t ranks);
/// The first of them; throws Error (bad_configuration) with the nearest miss where none fits.
Layout best_layout(const config::Parameters& parameters, const config::HardwareParameters& hardware,
                   std::int64_t ranks);

/// Loss by [loss_law] of the run's model after its tokens, in nats per token.
double expected_loss(const config::Parameters& parameters);

}  // namespace espalier::plan
