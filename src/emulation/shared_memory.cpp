#include "emulation/shared_memory.hpp"

#include <algorithm>
#include <cstring>
#include <string>

#include "base/error.hpp"
#include "base/integers.hpp"

namespace espalier::emulation {
namespace {

std::string name_of(std::int32_t who) {
  if (who < 0) return "several threads";
  if (who < Clocks::kFirstAgent) return "thread " + std::to_string(who);
  const int group = who - Clocks::kFirstAgent;
  return group < Clocks::kMaxGroups ? "a product of warpgroup " + std::to_string(group)
                                    : std::string("a copy");
}

}  // namespace

SharedMemory::SharedMemory(std::int64_t size_bytes)
    : size_(size_bytes),
      data_(std::make_unique<std::byte[]>(static_cast<std::size_t>(size_bytes))),
      history_(static_cast<std::size_t>(div_ceil(size_bytes, kGrain))) {}

void SharedMemory::begin_block(std::uint64_t epoch) {
  first_epoch_ = epoch;
  clocks_ = nullptr;
  async_reads_.clear();
  readers_.clear();
}

void SharedMemory::use_clocks(const Clocks& clocks) {
  clocks_ = &clocks;
  async_reads_.assign(static_cast<std::size_t>(div_ceil(size_, kChunk)), {});
}

bool SharedMemory::is_ordered(const Accessor& earlier, const Accessor& now) const {
  if (earlier.thread == now.thread || earlier.block_epoch < first_epoch_) return true;
  if (earlier.thread < Clocks::kFirstAgent) {  // barriers do not wait for agents
    if (earlier.block_epoch < now.block_epoch) return true;
    if (earlier.warp == now.warp && earlier.warp_epoch < now.warp_epoch) return true;
  }
  return clocks_ != nullptr && earlier.thread >= 0 &&
         clocks_->knows(now.thread, earlier.thread, earlier.clock);
}

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

void SharedMemory::check_and_note_read(History& history, std::int64_t offset, const Accessor& who) {
  check_no_copy(history, offset, who);
  require(history.writer.block_epoch >= first_epoch_, ExitStatus::internal,
          "emulation: thread {} reads byte {} of shared memory, which nothing has written",
          who.thread, offset);
  require(is_ordered(history.writer, who), ExitStatus::internal,
          "emulation: race on byte {} of shared memory: {} wrote, {} reads, and no barrier is "
          "between",
          offset, name_of(history.writer.thread), name_of(who.thread));
  if (clocks_ != nullptr) {
    std::vector<Accessor>& all = readers_[offset];
    std::erase_if(all, [&](const Accessor& earlier) { return earlier.thread == who.thread; });
    all.push_back(who);
  }
  Accessor& reader = history.reader;
  if (reader.block_epoch != who.block_epoch) {
    reader = who;
    return;
  }
  if (reader.thread != who.thread) reader.thread = kSeveral;
  if (reader.warp != who.warp) reader.warp = kSeveral;
  reader.warp_epoch = std::max(reader.warp_epoch, who.warp_epoch);
  reader.clock = std::min(reader.clock, who.clock);
}

bool SharedMemory::are_ordered_readers(std::int64_t offset, const History& history,
                                       const Accessor& now) const {
  if (is_ordered(history.reader, now)) return true;
  const auto found = readers_.find(offset);
  return found != readers_.end() && history.reader.clock != 0 &&
         std::all_of(found->second.begin(), found->second.end(),
                     [&](const Accessor& reader) { return is_ordered(reader, now); });
}

void SharedMemory::check_and_note_write(History& history, std::int64_t offset,
                                        const Accessor& who) {
  check_no_copy(history, offset, who);
  require(is_ordered(history.writer, who), ExitStatus::internal,
          "emulation: race on byte {} of shared memory: {} wrote, {} writes, and no barrier is "
          "between",
          offset, name_of(history.writer.thread), name_of(who.thread));
  require(are_ordered_readers(offset, history, who), ExitStatus::internal,
          "emulation: race on byte {} of shared memory: {} read, {} writes, and no barrier is "
          "between",
          offset, name_of(history.reader.thread), name_of(who.thread));
  if (clocks_ != nullptr) readers_.erase(offset);
  history.writer = who;
}

void SharedMemory::check_async_read(std::int64_t offset, const Accessor& who) const {
  check_place(offset, kChunk, "an asynchronous read");
  for (std::int64_t i = offset / kGrain; i < (offset + kChunk) / kGrain; ++i) {
    const History& history = history_[static_cast<std::size_t>(i)];
    check_no_copy(history, i * kGrain, who);
    const Accessor& writer = history.writer;
    require(
        writer.block_epoch >= first_epoch_, ExitStatus::internal,
        "emulation: an asynchronous read of byte {} of shared memory, which nothing has written",
        i * kGrain);
    require(
        is_ordered(writer, who), ExitStatus::internal,
        "emulation: race on byte {} of shared memory: {} wrote, {} reads asynchronously, and no "
        "barrier is between",
        i * kGrain, name_of(writer.thread), name_of(who.thread));
    require(writer.thread >= Clocks::kFirstAgent || clocks_->is_fenced(writer.thread, writer.clock),
            ExitStatus::internal,
            "emulation: byte {} of shared memory is read asynchronously, and thread {} has not "
            "fenced what it wrote there",
            i * kGrain, writer.thread);
  }
}

void SharedMemory::check_no_async_read(std::int64_t offset, std::int64_t bytes,
                                       const Accessor& who) const {
  if (async_reads_.empty()) return;
  for (std::int64_t i = offset / kChunk; i < div_ceil(offset + bytes, kChunk); ++i) {
    const AsyncReads& reads = async_reads_[static_cast<std::size_t>(i)];
    require(reads.num_stores == 0, ExitStatus::internal,
            "emulation: {} writes byte {} of shared memory, which a store still reads",
            name_of(who.thread), i * kChunk);
    for (int g = 0; g < Clocks::kMaxGroups; ++g) {
      const std::uint32_t clock = reads.by_group[static_cast<std::size_t>(g)];
      require(clock == 0 || clocks_->knows_products(who.thread, g, clock), ExitStatus::internal,
              "emulation: race on byte {} of shared memory: products of warpgroup {} read, {} "
              "writes, and has not heard from all of its warps that they are done",
              i * kChunk, g, name_of(who.thread));
    }
  }
}

void SharedMemory::begin_async_read(std::int64_t offset, std::int64_t, const Accessor& who) {
  check_async_read(offset, who);
  ++async_reads_[static_cast<std::size_t>(offset / kChunk)].num_stores;
}

void SharedMemory::end_async_read(void* to, std::int64_t offset, std::int64_t bytes) {
  --async_reads_[static_cast<std::size_t>(offset / kChunk)].num_stores;
  std::memcpy(to, data_.get() + offset, static_cast<std::size_t>(bytes));
}

void SharedMemory::begin_product(std::int64_t offset, int group, const Accessor& who) {
  check_async_read(offset, who);
  async_reads_[static_cast<std::size_t>(offset / kChunk)]
      .by_group[static_cast<std::size_t>(group)] = who.clock;
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
  check_no_async_read(offset, bytes, who);
  for (std::int64_t i = offset / kGrain; i < div_ceil(offset + bytes, kGrain); ++i)
    check_and_note_write(history_[static_cast<std::size_t>(i)], i * kGrain, who);
  std::memcpy(data_.get() + offset, from, static_cast<std::size_t>(bytes));
}

void SharedMemory::begin_copy(std::int64_t offset, std::int64_t bytes, const Accessor& who) {
  check_place(offset, bytes, "a copy");
  check_no_async_read(offset, bytes, who);
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

}  // namespace espalier::emulation
