#pragma once
#include <cstdint>
#include <memory>
#include <vector>

#include "device/gpu.hpp"
#include "device/view.hpp"

namespace espalier::device {

/// Pinned memory between host memory and a GPU's, for one stream and one thread at a time. Uploads
/// and downloads have slots of their own, used in turn, and whoever wants a slot waits only for
/// what was last put through it.
class Staging {
 public:
  Staging(std::shared_ptr<Gpu> gpu, Stream stream);
  ~Staging();
  Staging(const Staging&) = delete;
  Staging& operator=(const Staging&) = delete;

  /// `from`, contiguous, may be reused on return. Does not wait for the stream as long as the
  /// uploads that are under way fill less than kUploadBytes.
  void upload(View to, const void* from);
  /// `to`, contiguous, is written on return; the stream has come past everything before.
  void download(void* to, ConstView from);

  static constexpr std::int64_t kUploadBytes = std::int64_t{8} << 20;
  /// Of both directions.
  static constexpr std::int64_t kPinnedBytes = 2 * kUploadBytes;

 private:
  struct Slot {
    void* memory = nullptr;
    Event passed = nullptr;
    bool is_used = false;
  };
  /// Slots of one direction; each is handed out when nothing is under way in it.
  struct Ring {
    std::vector<Slot> slots;
    std::size_t next = 0;
  };
  void make(Ring& ring);
  void destroy(Ring& ring) noexcept;
  Slot& take(Ring& ring);

  static constexpr std::int64_t kSlotBytes = std::int64_t{2} << 20;
  static constexpr std::size_t kNumSlots = kUploadBytes / kSlotBytes;

  std::shared_ptr<Gpu> gpu_;
  Stream stream_;
  Ring uploads_, downloads_;
};

}  // namespace espalier::device
