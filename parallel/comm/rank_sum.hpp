#pragma once
#include <cstdint>
#include <span>

#include "base/dtype.hpp"

namespace espalier::parallel {

/// out[i] = ((source 0 [i] + source 1 [i]) + source 2 [i]) + ...: the sum over ranks in rank order,
/// in fp32, rounded once to `dtype` (f32 or bf16). `out` may be one of the sources. One pass over
/// memory, threaded; the result does not depend on the number of threads.
///
/// With a `block` of n, which divides the number of sources, each n consecutive ones are summed
/// first, and then their sums: for n = 2, (s0 + s1) + (s2 + s3) + ...
void sum_in_rank_order(DType dtype, std::span<const void* const> sources, void* out,
                       std::int64_t count, int block = 1);

}  // namespace espalier::parallel
