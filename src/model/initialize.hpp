#pragma once
#include <cstdint>

#include "model/architecture.hpp"
#include "parallel/layout/shard_map.hpp"

namespace espalier::model {

/// Initial values of a rectangle of one weight, (rectangle.rows(), rectangle.cols()) row-major
/// fp32: what spec.init says; normal is (0, initializer_range * init_scale), element (r, c) being
/// number r * cols + c of the stream (seed, name). The same numbers on every grid.
void initialize(const Architecture& architecture, const parallel::TensorSpec& spec,
                std::uint64_t seed, const parallel::Rectangle& rectangle, float* out);

}  // namespace espalier::model
