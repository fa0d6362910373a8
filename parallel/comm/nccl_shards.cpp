#include "parallel/comm/nccl_shards.hpp"

#include <algorithm>

#include <fmt/core.h>

#include "base/error.hpp"

namespace espalier::parallel {

void shard_calls(std::span<const std::int64_t> begins, std::int64_t row_bytes, bool sums,
                 std::vector<ShardCall>& calls) {
  ESPALIER_ASSERT(begins.size() >= 2, "{} begins", begins.size());
  calls.clear();
  const std::int64_t first = begins.front();
  const std::int64_t rows = begins.back() - first;
  if (rows == 0) return;
  const std::int64_t share = begins[1] - first;
  bool even = true;
  for (std::size_t r = 0; r + 1 < begins.size(); ++r)
    even = even && begins[r + 1] - begins[r] == share;
  if (even) {
    calls.push_back({ShardCall::Kind::even, 0, first, share});
    return;
  }
  if (sums && rows * row_bytes <= kWholeSumBytes) {
    calls.push_back({ShardCall::Kind::whole, 0, first, rows});
    return;
  }
  for (std::size_t r = 0; r + 1 < begins.size(); ++r)
    if (begins[r + 1] > begins[r])
      calls.push_back(
          {ShardCall::Kind::owner, static_cast<int>(r), begins[r], begins[r + 1] - begins[r]});
}

std::string ranks_that_share(const std::vector<std::string>& gpus) {
  for (std::size_t a = 0; a < gpus.size(); ++a) {
    std::string others;
    for (std::size_t b = a + 1; b < gpus.size(); ++b)
      if (gpus[b] == gpus[a]) others += fmt::format(" and {}", b);
    if (!others.empty()) return fmt::format("ranks {}{}", a, others);
  }
  return {};
}

bool nccl_serves(const std::vector<std::string>& gpus) {
  return std::find(gpus.begin(), gpus.end(), "") == gpus.end() && ranks_that_share(gpus).empty();
}

}  // namespace espalier::parallel
