#pragma once
#include <array>
#include <chrono>
#include <cstdint>
#include <memory>

#include "device/gpu.hpp"
#include "device/phase.hpp"

namespace espalier::device {

class GpuTimeline;

/// What the operators of a phase had to do at least, as their launchers state it.
struct PhaseCost {
  double flops = 0.0;
  double bytes = 0.0;  ///< of memory, each operand read or written once
  std::int64_t calls = 0;
};

/// Exclusive time per phase: an inner scope's time is not counted in the outer one, except inside
/// validation and checkpoint, which keep all of theirs. On the host it is wall time; on a GPU the
/// time of the compute stream, measured by events of it: what other streams do at the same time
/// shows only where the compute stream waits for them.
class Profiler {
 public:
  Profiler();
  ~Profiler();
  Profiler(const Profiler&) = delete;
  Profiler& operator=(const Profiler&) = delete;
  /// From now on measures `stream`, which must outlive the last scope.
  void measure_stream(std::shared_ptr<Gpu> gpu, Stream stream);

  class Scope {
   public:
    Scope(Profiler& profiler, Phase phase);
    ~Scope();
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    Profiler& profiler_;
    Phase outer_;
  };
  [[nodiscard]] Scope scope(Phase phase) { return Scope(*this, phase); }

  /// Seconds spent in each phase since construction or reset, the running phase included. On a GPU
  /// waits for the stream.
  std::array<double, kNumPhases> seconds() const;
  /// Adds to the running phase.
  void add_cost(double flops, double bytes);
  std::array<PhaseCost, kNumPhases> costs() const { return costs_; }
  /// Several operators at once, as a graph that is launched again.
  void add_costs(const std::array<PhaseCost, kNumPhases>& costs);
  void reset();

  /// While a stream is captured its events would belong to the graph: all time is the running
  /// phase's until resume, which is called in the scope in which pause was.
  void pause() { is_paused_ = true; }
  void resume() { is_paused_ = false; }

 private:
  using Clock = std::chrono::steady_clock;
  void enter(Phase phase);
  std::array<double, kNumPhases> seconds_{};
  std::array<PhaseCost, kNumPhases> costs_{};
  std::unique_ptr<GpuTimeline> timeline_;  ///< null: the host's clock
  bool is_paused_ = false;
  Phase current_ = Phase::other;
  Clock::time_point since_ = Clock::now();
};

}  // namespace espalier::device
