#include "kernels/emulation/turns.hpp"

#include <algorithm>

#include "base/error.hpp"
#include "kernels/emulation/faults.hpp"

namespace espalier::kernels::emulation {

std::uint64_t Turns::start(int thread, const float* to, bool adds) {
  const auto latest = latest_.find(to);
  if (!adds)
    require(latest == latest_.end(), ExitStatus::internal,
            "emulation: thread {} stores floats over what a block of this launch has put there",
            thread);
  else
    require(latest != latest_.end(), ExitStatus::internal,
            "emulation: thread {} adds to floats that no block of this launch has stored", thread);
  if (latest != latest_.end()) {
    const auto known = known_.find({thread, to});
    require(known != known_.end() && known->second == latest->second, ExitStatus::internal,
            "emulation: thread {} adds to floats before it has heard that the block before has "
            "added to them",
            thread);
  }
  return latest_[to] = ++num_stores_;
}

void Turns::publish(int thread, std::int32_t* count, std::int32_t value) {
  *count = value;
  for (const auto& [who_where, number] : known_)
    if (who_where.first == thread) published_[count][who_where.second] = number;
}

void Turns::await(int thread, const std::int32_t* count, std::int32_t wanted) {
  require(*count >= wanted, ExitStatus::internal,
          "emulation: thread {} waits for a count of {}, it is {}, and the blocks that have begun "
          "have ended",
          thread, wanted, *count);
  if (settings().faults.without_turns) return;
  for (const auto& [to, number] : published_[count]) {
    std::uint64_t& known = known_[{thread, to}];
    known = std::max(known, number);
  }
}

}  // namespace espalier::kernels::emulation
