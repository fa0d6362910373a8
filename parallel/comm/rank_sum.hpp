#pragma once
#include <cstdint>
#include <span>

#include "base/dtype.hpp"

namespace espalier::parallel {

/// out[i] = ((source 0 [i] + source 1 [i]) + source 2 [i]) + ...: the sum over ranks in rank order,
/// in fp32, rounded once to `dtype` (f32 or bf16). `out` may be one of the sources. One pass over
/// memory, threaded; the result does not depend on the number of threads.
void sum_in_rank_order(DType dtype, std::span<const void* const> sources, void* out,
                       std::int64_t count);

}  // namespace espalier::parallel
