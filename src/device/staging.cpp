#include "device/staging.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

namespace espalier::device {
namespace {

std::int64_t bytes_between_rows(const ConstView& view) {
  return view.stride * static_cast<std::int64_t>(size_of(view.dtype));
}

/// A rectangle of a matrix that fits into a slot.
struct Chunk {
  std::int64_t row, first_byte;  ///< of the matrix
  std::int64_t rows, row_bytes;
};

/// Rows longer than a slot are cut as if they were matrices of one row.
template <class Each>
void for_each_chunk(const ConstView& view, std::int64_t slot_bytes, Each&& each) {
  const std::int64_t row = view.cols * static_cast<std::int64_t>(size_of(view.dtype));
  if (row == 0) return;
  const std::int64_t rows_at_once = std::max<std::int64_t>(1, slot_bytes / row);
  const std::int64_t bytes_at_once = std::min(row, slot_bytes);
  for (std::int64_t r = 0; r < view.rows; r += rows_at_once)
    for (std::int64_t b = 0; b < row; b += bytes_at_once)
      each(Chunk{r, b, std::min(rows_at_once, view.rows - r), std::min(bytes_at_once, row - b)});
}

void copy_rows(char* to, std::int64_t to_stride, const char* from, std::int64_t from_stride,
               const Chunk& p) {
  if (to_stride == p.row_bytes && from_stride == p.row_bytes) {
    std::memcpy(to, from, static_cast<std::size_t>(p.rows * p.row_bytes));
    return;
  }
  for (std::int64_t r = 0; r < p.rows; ++r)
    std::memcpy(to + r * to_stride, from + r * from_stride, static_cast<std::size_t>(p.row_bytes));
}

}  // namespace

Staging::Staging(std::shared_ptr<Gpu> gpu, Stream stream) : gpu_(std::move(gpu)), stream_(stream) {
  make(uploads_);
  make(downloads_);
}

Staging::~Staging() {
  destroy(uploads_);
  destroy(downloads_);
}

void Staging::make(Ring& ring) {
  for (std::size_t i = 0; i < kNumSlots; ++i)
    ring.slots.push_back({gpu_->allocate_pinned(kSlotBytes), gpu_->create_event(false), false});
}

void Staging::destroy(Ring& ring) noexcept {
  for (const Slot& slot : ring.slots) {
    gpu_->release_pinned(slot.memory);
    gpu_->destroy(slot.passed);
  }
}

Staging::Slot& Staging::take(Ring& ring) {
  Slot& slot = ring.slots[ring.next];
  ring.next = (ring.next + 1) % ring.slots.size();
  if (std::exchange(slot.is_used, true)) gpu_->synchronize(slot.passed);
  return slot;
}

void Staging::upload(View to, const void* from) {
  const std::int64_t row = to.cols * static_cast<std::int64_t>(size_of(to.dtype));
  for_each_chunk(to, kSlotBytes, [&](const Chunk& p) {
    Slot& slot = take(uploads_);
    copy_rows(static_cast<char*>(slot.memory), p.row_bytes,
              static_cast<const char*>(from) + p.row * row + p.first_byte, row, p);
    gpu_->copy_to_device(
        static_cast<char*>(to.data) + p.row * bytes_between_rows(to) + p.first_byte, slot.memory,
        {p.rows, p.row_bytes, bytes_between_rows(to), p.row_bytes}, stream_);
    gpu_->record(slot.passed, stream_);
  });
}

void Staging::download(void* to, ConstView from) {
  const std::int64_t row = from.cols * static_cast<std::int64_t>(size_of(from.dtype));
  // Chunks are on their way while earlier ones are unpacked.
  struct Waiting {
    Slot* slot;
    Chunk chunk;
  };
  std::array<Waiting, kNumSlots> waiting;
  std::size_t num_sent = 0, num_unpacked = 0;
  const auto unpack = [&] {
    const auto& [slot, p] = waiting[num_unpacked++ % kNumSlots];
    gpu_->synchronize(slot->passed);
    copy_rows(static_cast<char*>(to) + p.row * row + p.first_byte, row,
              static_cast<const char*>(slot->memory), p.row_bytes, p);
  };
  for_each_chunk(from, kSlotBytes, [&](const Chunk& p) {
    if (num_sent - num_unpacked == kNumSlots) unpack();
    Slot& slot = take(downloads_);
    gpu_->copy_to_host(
        slot.memory,
        static_cast<const char*>(from.data) + p.row * bytes_between_rows(from) + p.first_byte,
        {p.rows, p.row_bytes, p.row_bytes, bytes_between_rows(from)}, stream_);
    gpu_->record(slot.passed, stream_);
    waiting[num_sent++ % kNumSlots] = {&slot, p};
  });
  while (num_unpacked < num_sent) unpack();
}

}  // namespace espalier::device
