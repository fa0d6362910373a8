#pragma once
#include <cstdint>

#include "device/backend.hpp"

namespace espalier::kernels {

/// Floats of device memory that operators on a GPU need for partial sums, for rows of at most
/// `width` columns (the widest of H, 2D and, with biases, a layer's output). 0 on the host.
std::int64_t workspace_elements(device::Backend backend, std::int64_t width);

}  // namespace espalier::kernels
