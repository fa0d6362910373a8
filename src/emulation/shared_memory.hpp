#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <memory>
#include <unordered_map>
#include <vector>

#include "emulation/clocks.hpp"
#include "emulation/site.hpp"

namespace espalier::emulation {

/// Who touches shared memory, and how far the barriers have come for him.
struct Accessor {
  std::int32_t thread = -1;
  std::int32_t warp = -1;
  std::uint64_t block_epoch = 0;  ///< barriers of blocks so far, in all blocks; 0: never
  std::uint64_t warp_epoch = 0;   ///< barriers of this warp so far
  std::uint32_t clock = 0;        ///< his own time (Clocks); 0 where nothing counts it
};

/// The shared memory of one block. Every access is checked: it must lie inside what the launch
/// asked for, be aligned, read nothing that the block has not written, and two threads may touch
/// one place, one of them writing, only with a barrier between. The last makes a missing barrier an
/// error whatever the order of threads was. With clocks also mbarriers, named barriers and waits
/// for products count as barriers between those who meet there.
class SharedMemory {
 public:
  explicit SharedMemory(std::int64_t size_bytes);

  std::int64_t size_bytes() const { return size_; }
  /// Contents of the block before are gone; `epoch` is the first of the new block.
  void begin_block(std::uint64_t epoch);
  /// From now on to the end of the block.
  void use_clocks(const Clocks& clocks);
  void read(void* to, std::int64_t offset, std::int64_t bytes, const Accessor& who);
  void write(std::int64_t offset, const void* from, std::int64_t bytes, const Accessor& who);
  /// An asynchronous copy to this place is under way; it lands with the end.
  void begin_copy(std::int64_t offset, std::int64_t bytes, const Accessor& who);
  void end_copy(std::int64_t offset, const void* from, std::int64_t bytes, const Accessor& who);
  /// A store that a thread has started reads this chunk of 16 bytes until the end.
  void begin_async_read(std::int64_t offset, std::int64_t bytes, const Accessor& who);
  void end_async_read(void* to, std::int64_t offset, std::int64_t bytes);
  /// Products of warpgroup `group` read this chunk of 16 bytes, `who` is the warpgroup.
  void begin_product(std::int64_t offset, int group, const Accessor& who);
  /// What they then find there.
  const std::byte* chunk(std::int64_t offset) const { return data_.get() + offset; }
  /// Whether a barrier lies between the earlier access and `now`: one of the block, or of the warp
  /// when both are of one warp, or any other after which `now` knows of it. A thread is always in
  /// order with itself.
  bool is_ordered(const Accessor& earlier, const Accessor& now) const;

 private:
  /// The smallest element that kernels keep in shared memory.
  static constexpr std::int64_t kGrain = 2;
  static constexpr std::int32_t kSeveral = -2;
  static constexpr std::int64_t kChunk = 16;  ///< bytes that asynchronous readers take at once

  struct History {
    Accessor writer;
    Accessor reader;  ///< the latest; thread or warp kSeveral: of this epoch there are several
    std::uint64_t copy_epoch = 0;  ///< block_epoch when a copy began that is still under way
  };
  /// Asynchronous readers of a chunk.
  struct AsyncReads {
    std::array<std::uint32_t, Clocks::kMaxGroups> by_group{};  ///< clock of the latest; 0: none
    int num_stores = 0;                                        ///< that are under way
  };
  void check_place(std::int64_t offset, std::int64_t bytes, const char* what) const;
  void check_no_copy(const History& history, std::int64_t offset, const Accessor& who) const;
  void check_and_note_read(History& history, std::int64_t offset, const Accessor& who);
  void check_and_note_write(History& history, std::int64_t offset, const Accessor& who);

  /// With clocks each reader counts for himself: some of several may have met the writer.
  bool are_ordered_readers(std::int64_t offset, const History& history, const Accessor& now) const;
  void check_async_read(std::int64_t offset, const Accessor& who) const;
  void check_no_async_read(std::int64_t offset, std::int64_t bytes, const Accessor& who) const;

  std::int64_t size_;
  std::uint64_t first_epoch_ = 1;
  std::unique_ptr<std::byte[]> data_;
  std::vector<History> history_;  ///< one per kGrain bytes
  const Clocks* clocks_ = nullptr;
  /// With clocks: who has read a grain since it was written, the latest time of each.
  std::unordered_map<std::int64_t, std::vector<Accessor>> readers_;
  std::vector<AsyncReads> async_reads_;  ///< one per kChunk bytes; empty without clocks
};

}  // namespace espalier::emulation
