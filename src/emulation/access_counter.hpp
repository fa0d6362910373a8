#pragma once
#include <array>
#include <cstdint>
#include <vector>

#include "device/launch_shape.hpp"

namespace espalier::emulation {

/// Requests of warps to device memory. It is moved in sectors of 32 bytes: a request moves every
/// sector of which it touches a byte (CUDA C++ Best Practices Guide, "Coalesced Access to Global
/// Memory"). There is no cache here: a sector counts in every request that touches it.
struct DeviceTraffic {
  std::int64_t requests = 0;
  std::int64_t bytes = 0;  ///< that were asked for; what several lanes of a request ask for, once
  std::int64_t sectors = 0;

  /// Bytes moved for each byte asked for; 1 is best.
  double sector_factor() const;
};

/// Requests of warps to shared memory: 32 banks of one 4-byte word each, and a wavefront takes one
/// word from every bank. Lanes that touch the same word share it (CUDA C++ Programming Guide,
/// "Shared Memory" of compute capability 5.x, which later ones refer to). Accesses of 8 bytes are
/// served per half warp, of 16 bytes per quarter warp. The guide says so of compute capability 2.x
/// alone ("64-Bit" and "128-Bit Accesses"); validation/kernel_access has what NVIDIA says of later
/// devices. Where neighbouring lanes ask for the same 8 or 16 bytes these may need less.
struct SharedTraffic {
  std::int64_t requests = 0;
  std::int64_t wavefronts = 0;
  std::int64_t fewest = 0;  ///< wavefronts without conflicts: one for each part that is served

  /// 1 is best.
  double conflict_factor() const;
};

struct AccessCounts {
  DeviceTraffic loads, stores;
  SharedTraffic shared_loads, shared_stores;

  /// Of loads and stores together.
  DeviceTraffic device() const;
  SharedTraffic shared() const;
};

/// What launches have counted since it was last set to {}; they add to it while
/// settings().count_accesses is on.
AccessCounts& access_counts();

enum class AccessKind { load, store, shared_load, shared_store };

/// Groups what the lanes of a warp do into the warp's requests. Lanes run one after the other here,
/// so request number i is made of each lane's i-th access of the same kind and width since the
/// warp's lanes last met. That is what a device's warp does where all lanes run the same code, and
/// where a lane leaves a loop earlier than others or takes no part at the end: it is then missing
/// in the last requests. Where lanes take different branches that access memory alike, the branches
/// are taken for one request: kernels have such only in searches, whose lanes go their own ways
/// anyhow. A lane that leaves out an access in the middle would shift what it does after it; `skip`
/// keeps it in step.
class AccessCounter {
 public:
  /// Is the active one until its end.
  AccessCounter(int num_threads, AccessCounts& counts);
  AccessCounter(const AccessCounter&) = delete;
  AccessCounter& operator=(const AccessCounter&) = delete;
  ~AccessCounter();

  /// The one of the running launch; nullptr when it is not asked for.
  static AccessCounter* active() { return active_; }

  /// The running thread's access of `bytes` bytes; more than 16 are several, of 16 each. `place` is
  /// an address, or an offset in shared memory.
  void note(AccessKind kind, int thread, std::uintptr_t place, int bytes);
  void skip(AccessKind kind, int thread, int bytes);
  /// A request of its own for neighbouring bytes of device memory.
  void note_run(AccessKind kind, std::uintptr_t address, std::int64_t bytes);
  /// These threads have met; warps are there as a whole or not at all.
  void meet(const std::vector<int>& threads);
  void end_block();

 private:
  static constexpr int kKinds = 4;
  static constexpr int kWidths = 5;  ///< 1, 2, 4, 8, 16 bytes
  static constexpr std::size_t kStreams = kKinds * kWidths;

  struct Request {
    std::uint32_t lanes = 0;  ///< a bit for each that takes part
    std::array<std::uintptr_t, device::kWarpSize> place;
  };
  /// Accesses of one kind and width.
  struct Stream {
    std::array<std::size_t, device::kWarpSize> next{};  ///< the lane's next request
    std::vector<Request> requests;
  };
  using Warp = std::array<Stream, kStreams>;

  Stream& stream(AccessKind kind, int thread, int bytes);
  void add(AccessKind kind, int thread, std::uintptr_t place, int bytes);
  void finish(Warp& warp);
  void count_device(DeviceTraffic& traffic, const Request& request, int bytes) const;
  void count_shared(SharedTraffic& traffic, const Request& request, int bytes) const;

  static inline AccessCounter* active_ = nullptr;
  AccessCounts& counts_;
  std::vector<Warp> warps_;
};

}  // namespace espalier::emulation
