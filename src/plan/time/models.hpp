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
///   products   the larger of FLOPs / (0.765 product_*_tflops x tile_efficiency)
///              and bytes / copy_gbs
///   attention  FLOPs / (0.765 attention_*_tflops) x (1 + attention_*_half / S)
///   others     bytes / copy_gbs
/// and overhead_us for each. Collectives: collective_time.hpp. Those of the tensor group are
/// waited for (three quarters hidden with parallel.overlap_tensor); those of gradients travel
/// beside the backward pass of the last micro-batch, and those of weights beside the forward pass
/// of the next, as far as these are long enough (parallel.overlap_data).
StepTime gpu_step_time(const StepCounts& counts, const config::Parameters& parameters,
                       const config::HardwareParameters& hardware);

/// Seconds that a counted step of resolved parameters takes on a rank of a host, whose device file
/// `espalier bench --write` has made. Nothing travels beside the computation.
///   operations   hardware.operators of the input's dtype, term by term (host_operator.hpp). One
///                that is not there goes at copy_gbs; products and attention must be there
///   collectives  of a group inside the node: overhead_us and, for (n - 1) / n of the tensors'
///                bytes, gbs of the operators "tensor communication", "gradient communication" and
///                "weight communication" (phases of the profiler); of several nodes those of
///                collective_time.hpp
///   other        step_factor times the operations, less these; sums of a few values
/// Throws Error (bad_configuration) where a rate is missing, or the input asks for another SIMD
/// level than was measured, and names it.
StepTime host_step_time(const StepCounts& counts, const config::Parameters& parameters,
                        const config::HardwareParameters& hardware);

}  // namespace espalier::plan
