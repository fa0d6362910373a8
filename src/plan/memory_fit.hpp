#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "plan/memory_plan.hpp"

namespace espalier::plan {

/// A change of the parameters, and what a rank would need with it.
struct Alternative {
  std::string change;  ///< "training.micro_batch_size = 2"
  std::int64_t total_bytes;
};

/// What makes the training plan of this rank smaller, the least costly first: ZeRO where it is off,
/// stronger modes of memory.recompute, smaller micro-batches, both, more tensor ranks. Of
/// micro-batches and tensor sizes it names the first that fits into `available_bytes`, else the
/// last there is. All of them resolve.
std::vector<Alternative> alternatives(const config::Parameters& parameters,
                                      const parallel::ProcessGrid& grid, device::Backend backend,
                                      std::int64_t available_bytes);

/// Empty when the plan of this rank fits into what `gpu` has free; else the plan's lines, what is
/// free, and the alternatives with their totals.
std::string why_not_fitting(const config::Parameters& parameters, const parallel::ProcessGrid& grid,
                            Purpose purpose, const device::Gpu& gpu);

/// Whether a training run on `shape` fits into GPUs like `gpu`, for --dry-run: the rank that needs
/// most decides.
std::string describe_fit(const config::Parameters& parameters, const parallel::GridShape& shape,
                         const device::Gpu& gpu);

}  // namespace espalier::plan
