#pragma once
#include "config/parameters.hpp"
#include "device/gpu.hpp"
#include "parallel/comm/session.hpp"
#include "plan/memory_fit.hpp"

namespace espalier::commands {

/// Build and libraries, ranks and where they run, and the host that computes where `backend` is
/// that: the beginning of a banner. Collective.
void print_job(parallel::MpiSession& session, const config::Parameters& parameters,
               device::Backend backend);

/// What a person wants to see first: build and libraries, ranks and where they run, the process
/// grid, the model and the memory plan. Collective.
void print_banner(parallel::MpiSession& session, const config::Parameters& parameters,
                  const parallel::GridShape& shape);

/// device.memory_gib of the device that is there, or that is planned for; no free bytes where it is
/// not given.
plan::Room planned_room(const config::DeviceParameters& parameters, device::Backend backend);

/// For dry runs: whether the memory plan fits into device.memory_gib where that is set, else into
/// the GPU that is here, and the mix that memory.recompute = "budget" would choose; of a job on
/// GPUs also who would compute attention, and what is missing. Where there is nothing to compare
/// the plan of a GPU with, that is said. Collective.
void print_fit(parallel::MpiSession& session, const config::Parameters& parameters,
               const parallel::GridShape& shape);

}  // namespace espalier::commands
