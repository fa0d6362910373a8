#pragma once
#include <cstdint>
#include <map>
#include <utility>

namespace espalier::kernels::emulation {

/// Who may add next to floats in device memory, of all blocks of a launch. They are added to by one
/// asynchronous store after the other; whoever starts one must have heard, by a count that was
/// published, that the one before is complete. Places are told apart by their first float.
class Turns {
 public:
  void begin_block() { known_.clear(); }
  /// The thread starts to store, or to add. Returns the number of the store.
  std::uint64_t start(int thread, const float* to, bool adds);
  /// It is complete, as the thread knows.
  void complete(int thread, const float* to, std::uint64_t number) {
    known_[{thread, to}] = number;
  }
  /// Whoever waits for the count learns what the thread knows.
  void publish(int thread, std::int32_t* count, std::int32_t value);
  /// Throws Error where the count is not there: blocks run one after the other, and this one would
  /// wait for a block that has not begun.
  void await(int thread, const std::int32_t* count, std::int32_t wanted);

 private:
  std::uint64_t num_stores_ = 0;
  std::map<const float*, std::uint64_t> latest_;
  std::map<std::pair<int, const float*>, std::uint64_t> known_;  ///< by thread of the running block
  std::map<const std::int32_t*, std::map<const float*, std::uint64_t>> published_;
};

}  // namespace espalier::kernels::emulation
