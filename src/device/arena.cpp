#include "device/arena.hpp"

#include <sys/mman.h>

#include <algorithm>
#include <utility>

#include "base/integers.hpp"
#include "base/text.hpp"

namespace espalier::device {

Arena::Arena(std::string name, std::int64_t capacity, void* base, std::shared_ptr<Gpu> gpu)
    : name_(std::move(name)), capacity_(capacity), base_(base), gpu_(std::move(gpu)) {}

Arena Arena::planning(std::string name) {
  return Arena(std::move(name), 0, nullptr, nullptr);
}

Arena Arena::backed(std::string name, std::int64_t capacity_bytes, std::shared_ptr<Gpu> gpu,
                    MemorySource source) {
  if (gpu != nullptr) {
    if (source.allocate != nullptr && capacity_bytes > 0) {
      gpu->make_current();
      if (void* memory = source.allocate(capacity_bytes)) {
        Arena arena(std::move(name), capacity_bytes, memory, std::move(gpu));
        arena.release_ = source.release;
        arena.gpu_->set_zero(memory, capacity_bytes);
        return arena;
      }
    }
    void* memory = gpu->allocate(name, capacity_bytes);
    return Arena(std::move(name), capacity_bytes, memory, std::move(gpu));
  }
  // At least one page, so that an empty arena is still a backed one. Pages come zeroed and are
  // placed at first touch.
  const auto size =
      static_cast<std::size_t>(round_up(capacity_bytes > 0 ? capacity_bytes : 1, 4096));
  void* base = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  require(base != MAP_FAILED, ExitStatus::bad_configuration,
          "arena \"{}\": {} of memory cannot be had; use a smaller training.micro_batch_size or "
          "more ranks",
          name, human_bytes(static_cast<double>(capacity_bytes)));
  madvise(base, size, MADV_HUGEPAGE);
  return Arena(std::move(name), static_cast<std::int64_t>(size), base, nullptr);
}

Arena::~Arena() {
  if (base_ == nullptr) return;
  if (release_ != nullptr)
    release_(base_);
  else if (gpu_ != nullptr)
    gpu_->release(base_);
  else
    munmap(base_, static_cast<std::size_t>(capacity_));
}

Arena::Arena(Arena&& other) noexcept
    : name_(std::move(other.name_)),
      capacity_(std::exchange(other.capacity_, 0)),
      used_(std::exchange(other.used_, 0)),
      base_(std::exchange(other.base_, nullptr)),
      gpu_(std::move(other.gpu_)),
      release_(other.release_),
      part_(std::move(other.part_)),
      allocations_(std::move(other.allocations_)) {}

Arena& Arena::operator=(Arena&& other) noexcept {
  std::swap(name_, other.name_);
  std::swap(capacity_, other.capacity_);
  std::swap(used_, other.used_);
  std::swap(base_, other.base_);
  std::swap(gpu_, other.gpu_);
  std::swap(release_, other.release_);
  std::swap(part_, other.part_);
  std::swap(allocations_, other.allocations_);
  return *this;
}

std::vector<Arena::Part> Arena::parts() const {
  std::vector<Part> parts;
  for (const Allocation& allocation : allocations_) {
    const auto is_it = [&](const Part& part) { return part.name == allocation.part; };
    auto part = std::find_if(parts.begin(), parts.end(), is_it);
    if (part == parts.end()) part = parts.insert(part, {allocation.part, 0});
    part->bytes += round_up(allocation.size_bytes, kAlignment);
  }
  return parts;
}

Arena Arena::over(std::int64_t begin_bytes) const {
  ESPALIER_ASSERT(0 <= begin_bytes && begin_bytes <= used_, "{} of {} bytes of arena {}",
                  begin_bytes, used_, name_);
  void* base = base_ == nullptr ? nullptr : static_cast<char*>(base_) + begin_bytes;
  Arena layout(name_, used_ - begin_bytes, base, nullptr);
  layout.release_ = [](void*) noexcept {};  // the memory is this arena's
  return layout;
}

View Arena::from_source() const {
  if (release_ == nullptr) return {};
  const std::int64_t elements = capacity_ / static_cast<std::int64_t>(sizeof(float));
  return {base_, DType::f32, 1, elements, elements};
}

View Arena::allocate(std::string_view label, DType dtype, std::int64_t rows, std::int64_t cols) {
  View view{nullptr, dtype, rows, cols, cols};
  ESPALIER_ASSERT(rows >= 0 && cols >= 0, "{}: ({}, {})", label, rows, cols);
  ESPALIER_ASSERT(is_planning() || used_ + view.size_bytes() <= capacity_,
                  "arena {}: \"{}\" wants {} bytes at {} of {}", name_, label, view.size_bytes(),
                  used_, capacity_);
  if (base_ != nullptr) view.data = static_cast<char*>(base_) + used_;
  allocations_.push_back({std::string(label), used_, view.size_bytes(), part_});
  used_ += round_up(view.size_bytes(), kAlignment);
  return view;
}

}  // namespace espalier::device
