#pragma once
#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "device/gpu.hpp"
#include "device/phase.hpp"

namespace espalier::device {

/// Divides the time of a stream among phases: an event is recorded where one ends and the next
/// begins, and read when the stream has long come past it, so that the host does not wait. While
/// the stream has nothing to do, the time belongs to what the host does meanwhile.
///
/// All events are made at the beginning; a host that is further ahead than they reach waits.
class GpuTimeline {
 public:
  /// The timeline begins where `stream` is now, in `first`.
  GpuTimeline(std::shared_ptr<Gpu> gpu, Stream stream, Phase first);
  ~GpuTimeline();
  GpuTimeline(const GpuTimeline&) = delete;
  GpuTimeline& operator=(const GpuTimeline&) = delete;

  /// From here on, the time of the stream belongs to `phase`.
  void mark(Phase phase);
  /// Seconds per phase up to now; waits for the stream.
  std::array<double, kNumPhases> seconds();
  /// Counts anew from where the stream is now.
  void reset();

  static constexpr std::size_t kNumEvents = 1024;

 private:
  struct Mark {
    Event event = nullptr;
    Phase phase = Phase::other;  ///< that begins here
  };
  Mark& mark_at(std::size_t number) { return marks_[number % kNumEvents]; }
  /// Adds up what is done.
  void collect();

  std::shared_ptr<Gpu> gpu_;
  Stream stream_;
  std::array<double, kNumPhases> seconds_{};
  std::vector<Mark> marks_;    ///< a ring of kNumEvents
  std::size_t first_ = 0;      ///< number of the latest mark whose beginning is accounted for
  std::size_t past_last_ = 0;  ///< number of the next mark
};

}  // namespace espalier::device
