#pragma once
#include <memory>
#include <string>

#include "config/parameters.hpp"
#include "device/gpu.hpp"
#include "parallel/session.hpp"

namespace espalier::train {

/// The GPU of this rank as [device] asks, or null for the host. Collective.
std::shared_ptr<device::Gpu> choose_gpu(parallel::MpiSession& session,
                                        const config::DeviceParameters& parameters);

/// Where `gpu` computes; null is the host.
device::Backend backend_of(const std::shared_ptr<device::Gpu>& gpu);

/// device.communicator.
parallel::CollectiveLibrary collective_library(const config::DeviceParameters& parameters);

/// A line per rank for the banner. Collective; the same text on every rank.
std::string describe_devices(parallel::MpiSession& session,
                             const std::shared_ptr<device::Gpu>& gpu);

}  // namespace espalier::train
