#pragma once
#include <cstddef>
#include <cstdint>
#include <vector>

#include "base/dtype.hpp"

namespace espalier::device {

/// An operand of what is measured: `count` normal numbers about `mean`, f32 or bf16 as they lie in
/// memory. A GPU computes on zeros and on small integers with less power and so at a higher clock.
/// They repeat after 65535.
std::vector<std::byte> random_operand(DType dtype, std::int64_t count, double deviation = 1.0,
                                      float mean = 0.0F);

}  // namespace espalier::device
