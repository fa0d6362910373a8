#pragma once
// The device's terms under the names that kernels give them.
#include "device/launch_shape.hpp"
#include "device/queue.hpp"
#include "device/tensor_extents.hpp"
#include "device/words.hpp"

namespace espalier::kernels {

using device::kBoxColumns;
using device::kMaxTensorRank;
using device::kWarpgroupThreads;
using device::kWarpSize;
using device::LaunchShape;
using device::Queue;
using device::require_launchable;
using device::require_shared_bytes;
using device::shared_bytes;
using device::TensorExtents;
using device::Words;

}  // namespace espalier::kernels
