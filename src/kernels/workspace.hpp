#pragma once
#include <cstdint>

#include "device/backend.hpp"

namespace espalier::kernels {

/// Floats of device memory that operators on a GPU need for partial results. `width`: the most
/// columns of a row that an operator sums over rows: H for norms, 2D, with biases the widest
/// layer's output, E for the counts of experts. `num_tokens`: of a batch of embedding_backward or
/// positions_backward. 0 on the host.
std::int64_t workspace_elements(device::Backend backend, std::int64_t width,
                                std::int64_t num_tokens);

}  // namespace espalier::kernels
