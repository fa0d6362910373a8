#include "parallel/comm/rank_sum.hpp"

#include "base/error.hpp"
#include "base/host_loops.hpp"
#include "parallel/comm/rank_sum_level.hpp"

namespace espalier::parallel {
namespace {

template <class T>
void sum_typed(std::span<const void* const> sources, T* out, std::int64_t count,
               std::size_t block) {
  // Below this a second thread costs more than it brings.
  constexpr std::int64_t kGrain = 16384;
  host_for_ranges(count, kGrain, [&](std::int64_t begin, std::int64_t end) {
    ESPALIER_AT_SIMD_LEVEL(parallel, sum_range(sources, block, out, begin, end))
  });
}

}  // namespace

void sum_in_rank_order(DType dtype, std::span<const void* const> sources, void* out,
                       std::int64_t count, int block_of_ranks) {
  ESPALIER_ASSERT(!sources.empty(), "a sum over no rank");
  ESPALIER_ASSERT(block_of_ranks > 0 && std::ssize(sources) % block_of_ranks == 0,
                  "a sum over {} ranks in blocks of {}", sources.size(), block_of_ranks);
  // One block, or blocks of one, is the plain order, which needs no second sum.
  auto block = static_cast<std::size_t>(block_of_ranks);
  if (block == 1) block = sources.size();
  switch (dtype) {
    case DType::f32:
      return sum_typed(sources, static_cast<float*>(out), count, block);
    case DType::bf16:
      return sum_typed(sources, static_cast<bf16*>(out), count, block);
    default:
      fail(ExitStatus::internal, "sum over ranks of {}", name_of(dtype));
  }
}

}  // namespace espalier::parallel
