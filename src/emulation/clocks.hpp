#pragma once
#include <algorithm>
#include <cstdint>
#include <vector>

namespace espalier::emulation {

/// What each thread of a block knows to have happened before (vector clocks, Mattern 1989), where
/// barriers of the whole block are not all that orders accesses. Besides threads there are agents
/// that work on their own: a warpgroup's products, and an mbarrier's copies. A thread knows of an
/// agent's work once it has waited for it, or met one who had. Of products a wait tells a thread
/// only that its warp's part is done.
class Clocks {
 public:
  using Times = std::vector<std::uint32_t>;
  /// Threads are 0 .. num_threads - 1; agents follow from here, whatever num_threads is.
  static constexpr int kFirstAgent = 1024;
  static constexpr int kMaxGroups = 8;
  static constexpr int kMaxBarriers = 64;
  static constexpr int group(int index) { return kFirstAgent + index; }
  static constexpr int barrier(int index) { return kFirstAgent + kMaxGroups + index; }
  static constexpr int kWarpsOfGroup = 4;
  /// A warp's part of a warpgroup's products, in the group's time.
  static constexpr int part(int group_index, int warp) {
    return kFirstAgent + kMaxGroups + kMaxBarriers + group_index * kWarpsOfGroup + warp;
  }

  void begin_block(int num_threads);
  /// From 1 on. Accesses before anything was counted have time 0, which is as good as 1.
  std::uint32_t time_of(int who) const { return row(who)[column(who)]; }
  /// What `who` does from now on is later.
  void advance(int who) { ++rows_[index(who)][column(who)]; }
  /// Knowledge of nothing.
  Times nothing() const { return Times(rows_.size(), 0); }
  /// `all` takes what `who` knows; what it does from now on is later.
  void publish(int who, Times& all);
  void learn(int who, const Times& times);
  void learn(int who, int other, std::uint32_t time);
  bool knows(int who, int other, std::uint32_t time) const {
    return std::max(time, 1u) <= row(who)[column(other)];
  }
  /// Whether `who` has heard that all warps' parts of the group's products until `time` are done.
  bool knows_products(int who, int group_index, std::uint32_t time) const {
    for (int warp = 0; warp < kWarpsOfGroup; ++warp)
      if (!knows(who, part(group_index, warp), time)) return false;
    return true;
  }
  /// All know what any of them knows; what they do from now on is later.
  void meet(const std::vector<int>& threads);
  /// A warpgroup's products know what all of its threads know.
  void begin_products(int group_index);

  /// The thread's fence between its own writes and asynchronous readers.
  void fence(int thread);
  bool is_fenced(int thread, std::uint32_t time) const {
    return std::max(time, 1u) <= fenced_[static_cast<std::size_t>(thread)];
  }

 private:
  std::size_t column(int who) const {
    return static_cast<std::size_t>(who < kFirstAgent ? who : num_threads_ + who - kFirstAgent);
  }
  std::size_t index(int who) const { return column(who); }
  const Times& row(int who) const { return rows_[index(who)]; }

  int num_threads_ = 0;
  std::vector<Times> rows_;
  Times fenced_;  ///< per thread: its latest time that is fenced
};

}  // namespace espalier::emulation
