#pragma once
#include <cstdint>
#include <deque>
#include <vector>

#include "emulation/shared_memory.hpp"

namespace espalier::emulation {

/// The asynchronous copies (cp.async) of one thread: 16 bytes each from device memory to shared
/// memory, in groups. Bytes land as late as they may, when the thread waits for their group; until
/// then their place can be neither read nor written.
class AsyncCopies {
 public:
  void forget() { groups_.assign(1, {}); }
  /// from == nullptr: zeros.
  void start(SharedMemory& shared, std::int64_t to, const void* from, const Accessor& who);
  void commit() { groups_.emplace_back(); }
  /// All groups but the latest `num_pending` committed ones have landed.
  void wait(SharedMemory& shared, int num_pending, const Accessor& who);

 private:
  struct Copy {
    std::int64_t to;
    const void* from;
  };
  std::deque<std::vector<Copy>> groups_{1};  ///< the last one is still open
};

}  // namespace espalier::emulation
