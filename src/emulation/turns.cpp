#include "emulation/turns.hpp"

#include <algorithm>

#include "base/error.hpp"
#include "emulation/faults.hpp"

namespace espalier::emulation {

std::uint64_t Turns::start(int thread, const float* to, int bytes, bool adds) {
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
    require(known != known_.end() && known->second == latest->second.number, ExitStatus::internal,
            "emulation: thread {} adds to floats before it has heard that the block before has "
            "added to them",
            thread);
  }
  latest_[to] = {++num_stores_, bytes};
  return num_stores_;
}

void Turns::publish(int thread, std::int32_t* count, std::int32_t value) {
  *count = value;
  Known& told = published_[count][value];
  for (const auto& [who_where, number] : known_)
    if (who_where.first == thread) told[who_where.second] = number;
}

void Turns::wait(int thread, const std::int32_t* count, std::int32_t wanted) {
  const Faults& faults = settings().faults;
  if (faults.early_turns) --wanted;
  require(*count >= wanted, ExitStatus::internal,
          "emulation: thread {} waits for a count of {}, it is {}, and the blocks that have begun "
          "have ended",
          thread, wanted, *count);
  if (faults.without_turns || wanted <= 0) return;
  const auto& values = published_[count];
  const auto told = values.lower_bound(wanted);
  if (told == values.end()) return;
  for (const auto& [to, number] : told->second) {
    std::uint64_t& known = known_[{thread, to}];
    known = std::max(known, number);
  }
}

void Turns::read(int thread, const void* from, const Clocks& clocks) const {
  auto after = latest_.upper_bound(static_cast<const float*>(from));
  require(after != latest_.begin(), ExitStatus::internal,
          "emulation: thread {} reads sums that no block of this launch has stored", thread);
  const auto& [to, store] = *--after;
  require(from < to + static_cast<std::size_t>(store.bytes) / sizeof(float), ExitStatus::internal,
          "emulation: thread {} reads sums that no block of this launch has stored", thread);
  const auto completed = completed_.find(to);
  require(completed != completed_.end() && completed->second.number == store.number &&
              clocks.knows(thread, completed->second.thread, completed->second.time),
          ExitStatus::internal,
          "emulation: thread {} reads sums before it has heard that its block's addition to them "
          "is complete",
          thread);
}

}  // namespace espalier::emulation
