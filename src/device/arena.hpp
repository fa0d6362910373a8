#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "device/gpu.hpp"
#include "device/view.hpp"

namespace espalier::device {

/// Memory of a GPU from elsewhere than Gpu::allocate, such as peers reach directly. Both act on the
/// calling thread's GPU.
struct MemorySource {
  void* (*allocate)(std::int64_t bytes) = nullptr;  ///< null when it cannot be had
  void (*release)(void* memory) noexcept = nullptr;
};

/// One block of memory for one purpose, cut into named buffers.
///
/// The same layout code runs twice: first on a planning arena, which has no memory and counts, then
/// on a backed arena of exactly that size. The memory plan is therefore exact by construction, for
/// any rank of any grid, on one process and without the memory.
class Arena {
 public:
  /// Counts only; every View it returns has data == nullptr.
  static Arena planning(std::string name);
  /// Zeroed memory of `capacity_bytes`, on `gpu` or, when that is null, of the host; throws Error
  /// (internal) when the layout wants more, and Error (bad_configuration) naming the arena when the
  /// memory cannot be had. On a GPU `source` is asked first; what it does not give comes from
  /// Gpu::allocate.
  static Arena backed(std::string name, std::int64_t capacity_bytes,
                      std::shared_ptr<Gpu> gpu = nullptr, MemorySource source = {});
  ~Arena();
  Arena(Arena&& other) noexcept;
  Arena& operator=(Arena&& other) noexcept;

  /// What is allocated from here on belongs to `part` of the arena. Parts may go on later.
  void begin_part(std::string_view part) { part_ = part; }
  /// A contiguous (rows, cols) matrix, aligned to kAlignment bytes.
  View allocate(std::string_view label, DType dtype, std::int64_t rows, std::int64_t cols);

  struct Allocation {
    std::string label;
    std::int64_t offset_bytes;
    std::int64_t size_bytes;  ///< without padding
    std::string part;         ///< empty: of none
  };
  const std::string& name() const { return name_; }
  bool is_planning() const { return base_ == nullptr; }
  std::int64_t used_bytes() const { return used_; }  ///< with padding: the size to back it with
  std::int64_t capacity_bytes() const { return capacity_; }
  const std::vector<Allocation>& allocations() const { return allocations_; }
  struct Part {
    std::string name;
    std::int64_t bytes;  ///< with padding
  };
  /// In the order of their first allocations; together used_bytes().
  std::vector<Part> parts() const;
  /// A layout of what is from `begin_bytes` on, over what was allocated there: its allocations are
  /// none of this arena's, and it must not outlive it. Of a planning arena it plans, too.
  Arena over(std::int64_t begin_bytes) const;
  /// All of a backed arena's memory if its MemorySource gave it, in one row; else a view
  /// without data.
  View from_source() const;

  static constexpr std::int64_t kAlignment = 64;

 private:
  Arena(std::string name, std::int64_t capacity, void* base, std::shared_ptr<Gpu> gpu);
  std::string name_;
  std::int64_t capacity_ = 0;
  std::int64_t used_ = 0;
  void* base_ = nullptr;
  std::shared_ptr<Gpu> gpu_;                   ///< whose memory it is; null: the host's
  void (*release_)(void*) noexcept = nullptr;  ///< of the source; null: gpu_'s or the host's
  std::string part_;
  std::vector<Allocation> allocations_;
};

}  // namespace espalier::device
