#pragma once
#include <cstddef>
#include <cstdint>
#include <memory>
#include <vector>

#include "kernels/emulation/site.hpp"

namespace espalier::kernels::emulation {

/// Who touches shared memory, and how far the barriers have come for him.
struct Accessor {
  std::int32_t thread = -1;
  std::int32_t warp = -1;
  std::uint64_t block_epoch = 0;  ///< barriers of blocks so far, in all blocks; 0: never
  std::uint64_t warp_epoch = 0;   ///< barriers of this warp so far
};

/// The shared memory of one block. Every access is checked: it must lie inside what the launch
/// asked for, be aligned, read nothing that the block has not written, and two threads may touch
/// one place, one of them writing, only with a barrier between. The last makes a missing barrier an
/// error whatever the order of threads was.
class SharedMemory {
 public:
  explicit SharedMemory(std::int64_t size_bytes);

  std::int64_t size_bytes() const { return size_; }
  /// Contents of the block before are gone; `epoch` is the first of the new block.
  void begin_block(std::uint64_t epoch) { first_epoch_ = epoch; }
  void read(void* to, std::int64_t offset, std::int64_t bytes, const Accessor& who);
  void write(std::int64_t offset, const void* from, std::int64_t bytes, const Accessor& who);
  /// An asynchronous copy to this place is under way; it lands with the end.
  void begin_copy(std::int64_t offset, std::int64_t bytes, const Accessor& who);
  void end_copy(std::int64_t offset, const void* from, std::int64_t bytes, const Accessor& who);

 private:
  /// The smallest element that kernels keep in shared memory.
  static constexpr std::int64_t kGrain = 2;
  static constexpr std::int32_t kSeveral = -2;

  struct History {
    Accessor writer;
    Accessor reader;  ///< the latest; thread or warp kSeveral: of this epoch there are several
    std::uint64_t copy_epoch = 0;  ///< block_epoch when a copy began that is still under way
  };
  void check_place(std::int64_t offset, std::int64_t bytes, const char* what) const;
  void check_no_copy(const History& history, std::int64_t offset, const Accessor& who) const;
  void check_and_note_read(History& history, std::int64_t offset, const Accessor& who) const;
  void check_and_note_write(History& history, std::int64_t offset, const Accessor& who) const;

  std::int64_t size_;
  std::uint64_t first_epoch_ = 1;
  std::unique_ptr<std::byte[]> data_;
  std::vector<History> history_;  ///< one per kGrain bytes
};

}  // namespace espalier::kernels::emulation
