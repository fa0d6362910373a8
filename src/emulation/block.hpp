#pragma once
#include <array>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <exception>
#include <functional>
#include <map>
#include <memory>
#include <vector>

#include "device/launch_shape.hpp"
#include "emulation/access_counter.hpp"
#include "emulation/async_copies.hpp"
#include "emulation/clocks.hpp"
#include "emulation/fiber.hpp"
#include "emulation/shared_memory.hpp"
#include "emulation/site.hpp"
#include "emulation/transactions.hpp"
#include "emulation/turns.hpp"
#include "emulation/warpgroup.hpp"

namespace espalier::emulation {

/// Runs a kernel: one block after the other, the threads of a block as fibers. A thread runs until
/// it has to wait for others, then one that can go on is drawn at random. A rendezvous that cannot
/// come about, because a thread has ended or waits elsewhere, is an error that names the place.
class Block {
 public:
  /// body() is one thread of the kernel. Throws what body throws, and Error (internal) for what the
  /// emulation finds.
  static void run(const device::LaunchShape& shape, const std::function<void()>& body);
  /// The block that is running; an error outside of a kernel.
  static Block& current();

  int thread_index() const { return running_; }
  int num_threads() const { return static_cast<int>(threads_.size()); }
  std::int64_t block_index() const { return block_index_; }

  void block_barrier(Site site);
  void warp_barrier(Site site);
  /// Barrier `id` of num_threads threads, of those that wait and those that only arrive.
  void named_barrier(int id, int num_threads, Site site);
  void arrive_at_named_barrier(int id, int num_threads, Site site);
  /// All threads of the running one's warpgroup meet; the last one to come calls then().
  void meet_warpgroup(Site site, const std::function<void()>& then);
  /// The running thread rests among `waiting` until it is woken.
  void sleep(std::vector<int>& waiting);
  void wake(std::vector<int>& waiting);

  /// What each lane of the warp has brought. All lanes must come to the same place.
  template <class T>
  std::array<T, device::kWarpSize> exchange(const T& mine, Site site) {
    static_assert(sizeof(T) <= kLuggageBytes);
    Meeting& meeting = warps_[static_cast<std::size_t>(running_ / device::kWarpSize)].meeting;
    // A fast lane may already be at the next meeting while a slow one still looks at this one's
    // luggage, but not further: two sets are enough.
    auto& luggage = meeting.luggage[meeting.number % 2];
    std::memcpy(luggage[static_cast<std::size_t>(running_ % device::kWarpSize)].data(), &mine,
                sizeof mine);
    meet(meeting, device::kWarpSize, site);
    std::array<T, device::kWarpSize> all;
    for (std::size_t i = 0; i < all.size(); ++i)
      std::memcpy(static_cast<void*>(&all[i]), luggage[i].data(), sizeof(T));
    return all;
  }

  SharedMemory& shared() { return shared_; }
  Accessor accessor() const;
  /// What of Hopper a kernel uses begins with the first call in each block.
  Clocks& clocks() { return hopper().clocks; }
  Transactions& transactions() { return hopper().transactions; }
  Warpgroup& warpgroup() {
    return hopper().groups[static_cast<std::size_t>(running_ / device::kWarpgroupThreads)];
  }
  Turns& turns() { return turns_; }
  const std::vector<Warpgroup>& warpgroups() { return hopper().groups; }
  AsyncCopies& copies() { return copies_[static_cast<std::size_t>(running_)]; }

 private:
  static constexpr std::size_t kLuggageBytes = 64;

  struct Meeting {
    int arrived = 0;
    std::uint64_t number = 0;  ///< meetings completed
    Site site;
    std::vector<int> waiting;
    std::array<std::array<std::array<std::byte, kLuggageBytes>, device::kWarpSize>, 2> luggage;
  };
  struct Warp {
    Meeting meeting;
    std::uint64_t epoch = 1;
  };

  struct NamedBarrier {
    Meeting meeting;         ///< of those that wait; `arrived` counts the others, too
    int num_threads = 0;     ///< of the phase that has begun
    std::vector<int> ahead;  ///< who has arrived and gone on
    Site ahead_site;
    Clocks::Times gathering;  ///< what they knew
  };

  struct Hopper {
    explicit Hopper(Block& block);
    Clocks clocks;
    Transactions transactions;
    std::vector<Warpgroup> groups;
    std::vector<Meeting> group_meetings;
    std::map<int, NamedBarrier> named_barriers;
  };

  Block(const device::LaunchShape& shape, const std::function<void()>& body);
  void run_one(std::int64_t block_index);
  Hopper& hopper();
  void know_each_other(const Meeting& meeting);
  /// The barrier, in whose phase the running thread is one of num_threads.
  NamedBarrier& named_barrier(int id, int num_threads);
  void end_phase(NamedBarrier& barrier);
  /// Throws if some have come to a named barrier, and not all.
  void check_named_barriers() const;
  void meet(Meeting& meeting, int party, Site site, const std::function<void()>& then = {});
  /// Hands over to a thread that can go on; the running one is in `ready_` or in a meeting.
  void rest();
  void end_thread();
  [[noreturn]] void fail_stuck();
  static void thread_entry();
  std::uint64_t draw(std::uint64_t bound);

  const std::function<void()>& body_;
  SharedMemory shared_;
  std::int64_t block_index_ = 0;
  int running_ = 0;
  int num_ended_ = 0;
  std::vector<int> ready_;
  std::vector<Fiber> threads_;
  std::vector<AsyncCopies> copies_;
  std::vector<Warp> warps_;
  Meeting barrier_;
  std::uint64_t block_epoch_ = 1;
  std::uint64_t random_state_;
  std::unique_ptr<AccessCounter> counter_;  ///< if settings() ask for it
  std::unique_ptr<Hopper> hopper_;          ///< of the running block, once something of it is used
  Turns turns_;
  Fiber launcher_;
  std::exception_ptr error_;
};

}  // namespace espalier::emulation
