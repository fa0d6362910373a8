#include "kernels/emulation/shared_memory.hpp"

#include <algorithm>
#include <cstring>

#include "base/error.hpp"
#include "base/integers.hpp"

namespace espalier::kernels::emulation {
namespace {

/// Whether a barrier lies between the earlier access and `now`: one of the block, or of the warp
/// when both are of one warp. A thread is always in order with itself.
bool is_ordered(const Accessor& earlier, const Accessor& now) {
  if (earlier.block_epoch < now.block_epoch || earlier.thread == now.thread) return true;
  return earlier.warp == now.warp && earlier.warp_epoch < now.warp_epoch;
}

}  // namespace

SharedMemory::SharedMemory(std::int64_t size_bytes)
    : size_(size_bytes),
      data_(std::make_unique<std::byte[]>(static_cast<std::size_t>(size_bytes))),
      history_(static_cast<std::size_t>(div_ceil(size_bytes, kGrain))) {}

void SharedMemory::check_place(std::int64_t offset, std::int64_t bytes, const char* what) const {
  require(offset >= 0 && offset + bytes <= size_, ExitStatus::internal,
          "emulation: {} of shared memory, bytes {} to {}, but the block has {}", what, offset,
          offset + bytes, size_);
  const std::int64_t alignment = std::min<std::int64_t>(bytes, 16);
  require(offset % alignment == 0, ExitStatus::internal,
          "emulation: {} of shared memory, {} bytes at {}: not aligned", what, bytes, offset);
}

void SharedMemory::check_no_copy(const History& history, std::int64_t offset,
                                 const Accessor& who) const {
  require(history.copy_epoch < first_epoch_, ExitStatus::internal,
          "emulation: thread {} uses byte {} of shared memory, to which thread {} is still copying",
          who.thread, offset, history.writer.thread);
}

void SharedMemory::check_and_note_read(History& history, std::int64_t offset,
                                       const Accessor& who) const {
  check_no_copy(history, offset, who);
  require(history.writer.block_epoch >= first_epoch_, ExitStatus::internal,
          "emulation: thread {} reads byte {} of shared memory, which nothing has written",
          who.thread, offset);
  require(is_ordered(history.writer, who), ExitStatus::internal,
          "emulation: race on byte {} of shared memory: thread {} wrote, thread {} reads, and no "
          "barrier is between",
          offset, history.writer.thread, who.thread);
  Accessor& reader = history.reader;
  if (reader.block_epoch != who.block_epoch) {
    reader = who;
    return;
  }
  if (reader.thread != who.thread) reader.thread = kSeveral;
  if (reader.warp != who.warp) reader.warp = kSeveral;
  reader.warp_epoch = std::max(reader.warp_epoch, who.warp_epoch);
}

void SharedMemory::check_and_note_write(History& history, std::int64_t offset,
                                        const Accessor& who) const {
  check_no_copy(history, offset, who);
  for (const Accessor* earlier : {&history.writer, &history.reader})
    require(is_ordered(*earlier, who), ExitStatus::internal,
            "emulation: race on byte {} of shared memory: thread {} {}, thread {} writes, and no "
            "barrier is between",
            offset, earlier->thread, earlier == &history.writer ? "wrote" : "read", who.thread);
  history.writer = who;
}

void SharedMemory::read(void* to, std::int64_t offset, std::int64_t bytes, const Accessor& who) {
  check_place(offset, bytes, "a read");
  for (std::int64_t i = offset / kGrain; i < div_ceil(offset + bytes, kGrain); ++i)
    check_and_note_read(history_[static_cast<std::size_t>(i)], i * kGrain, who);
  std::memcpy(to, data_.get() + offset, static_cast<std::size_t>(bytes));
}

void SharedMemory::write(std::int64_t offset, const void* from, std::int64_t bytes,
                         const Accessor& who) {
  check_place(offset, bytes, "a write");
  for (std::int64_t i = offset / kGrain; i < div_ceil(offset + bytes, kGrain); ++i)
    check_and_note_write(history_[static_cast<std::size_t>(i)], i * kGrain, who);
  std::memcpy(data_.get() + offset, from, static_cast<std::size_t>(bytes));
}

void SharedMemory::begin_copy(std::int64_t offset, std::int64_t bytes, const Accessor& who) {
  check_place(offset, bytes, "a copy");
  for (std::int64_t i = offset / kGrain; i < div_ceil(offset + bytes, kGrain); ++i) {
    History& history = history_[static_cast<std::size_t>(i)];
    check_and_note_write(history, i * kGrain, who);
    history.copy_epoch = who.block_epoch;
  }
}

void SharedMemory::end_copy(std::int64_t offset, const void* from, std::int64_t bytes,
                            const Accessor& who) {
  for (std::int64_t i = offset / kGrain; i < div_ceil(offset + bytes, kGrain); ++i) {
    History& history = history_[static_cast<std::size_t>(i)];
    history.copy_epoch = 0;
    history.writer = who;
  }
  std::memcpy(data_.get() + offset, from, static_cast<std::size_t>(bytes));
}

}  // namespace espalier::kernels::emulation
