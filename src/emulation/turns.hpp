#pragma once
#include <cstdint>
#include <map>
#include <utility>

#include "emulation/clocks.hpp"

namespace espalier::emulation {

/// Who may add next to floats in device memory, of all blocks of a launch. They are added to by one
/// asynchronous store after the other; whoever starts one must have heard, by a count that was
/// published, that the one before is complete. A place is identified by its first address.
class Turns {
 public:
  void begin_block() {
    known_.clear();
    completed_.clear();
  }
  /// The thread starts to store, or to add. Returns the number of the store.
  std::uint64_t start(int thread, const float* to, int bytes, bool adds);
  /// It is complete, as the thread knows.
  void complete(int thread, const float* to, std::uint64_t number, const Clocks& clocks) {
    known_[{thread, to}] = number;
    completed_[to] = {number, thread, clocks.time_of(thread)};
  }
  /// Whoever waits for the count to be `value` learns what the thread knows by now.
  void publish(int thread, std::int32_t* count, std::int32_t value);
  /// Throws Error where the count is not there: blocks run one after the other, and this one would
  /// wait for a block that has not begun. Only what was published up to `wanted` counts as heard:
  /// on a device the count may have been no higher at that time.
  void wait(int thread, const std::int32_t* count, std::int32_t wanted);
  /// The thread reads what is the last of its block's additions: it must have met who completed it.
  void read(int thread, const void* from, const Clocks& clocks) const;

 private:
  using Known = std::map<const float*, std::uint64_t>;
  struct Store {
    std::uint64_t number;
    int bytes;
  };
  struct Completed {
    std::uint64_t number;
    int thread;
    std::uint32_t time;
  };
  std::uint64_t num_stores_ = 0;
  std::map<const float*, Store> latest_;
  std::map<std::pair<int, const float*>, std::uint64_t> known_;  ///< by thread of the running block
  std::map<const float*, Completed> completed_;                  ///< by the running block
  std::map<const std::int32_t*, std::map<std::int32_t, Known>> published_;  ///< count, value
};

}  // namespace espalier::emulation
