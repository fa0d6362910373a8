#pragma once
#include <cstdint>

#include "plan/time/step_time.hpp"

// The two models of a step's time. step_time.cpp chooses by hardware.kind.

namespace espalier::plan {

/// Share of a GPU's tensor cores that a product (m, k) (k, n) can keep busy: whole tiles over
/// `multiprocessors` in whole waves, of the tile that does best among those that libraries have
/// (256 x 128 and the same turned, 128 x 128, 128 x 64 and turned), and the start and end of each
/// tile beside its k: k / (k + 225). 1: all of them all the time.
double tile_efficiency(std::int64_t m, std::int64_t n, std::int64_t k,
                       std::int64_t multiprocessors);

/// Seconds that a counted step of resolved parameters takes on a GPU. Each call of an operator:
///   products   the larger of FLOPs / (0.765 product_*_tflops x tile_efficiency) and bytes / copy_gbs
///   attention  FLOPs / (0.765 attention_{forward,backward}_tflops) x (1 + 420 / S): tiles on the diagonal
///              are computed whole, and short sequences have few (FlashAttention-3's causal forward
///              rates on an H100, 423 TFLOP/s at S 1k to 616 at 16k, within 6 %)
///   others     bytes / copy_gbs
/// and overhead_us for each. Collectives: collective_time.hpp. Those of the tensor group are
/// waited for (three quarters hidden with parallel.overlap_tensor); those of gradients travel
/// beside the backward pass of the last micro-batch, and those of weights beside the forward pass
/// of the next, as far as these are long enough (parallel.overlap_data).
StepTime gpu_step_time(const StepCounts& counts, const config::Parameters& parameters,
                       const config::HardwareParameters& hardware);

/// Seconds that a counted step of resolved parameters takes on the cores of a rank.
StepTime host_step_time(const StepCounts& counts, const config::Parameters& parameters,
                        const config::HardwareParameters& hardware);

}  // namespace espalier::plan
