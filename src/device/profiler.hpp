#pragma once
#include <array>
#include <chrono>
#include <cstdint>
#include <map>
#include <memory>
#include <string_view>

#include "device/gpu.hpp"
#include "device/phase.hpp"

namespace espalier::device {

class GpuTimeline;

/// What the operators of a phase, or one operation, had to do at least, as their launchers state
/// it.
struct PhaseCost {
  double flops = 0.0;
  double bytes = 0.0;  ///< of memory, each operand read or written once
  std::int64_t calls = 0;
  bool operator==(const PhaseCost&) const = default;
};

/// An operator, or a matrix product of one shape.
struct Operation {
  std::string_view name;             ///< a literal
  std::int64_t m = 0, n = 0, k = 0;  ///< of a product (m, k) (k, n); 0 for operators
  auto operator<=>(const Operation&) const = default;
};
using OperationCosts = std::map<Operation, PhaseCost>;

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
    bool is_absorbed_ = false;  ///< its time is the outer one's
  };
  [[nodiscard]] Scope scope(Phase phase) { return Scope(*this, phase); }

  /// Seconds spent in each phase since construction or reset, the running phase included. On a GPU
  /// waits for the stream.
  std::array<double, kNumPhases> seconds() const;
  /// Adds to the running phase and, when they are recorded, to the operation.
  void add_cost(const Operation& operation, double flops, double bytes);
  /// Whether costs are kept by operation, too, from now on; not those of a graph that is launched
  /// again.
  void record_operations(bool wanted) { records_operations_ = wanted; }
  const OperationCosts& operations() const { return operations_; }
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
  OperationCosts operations_;
  bool records_operations_ = false;
  std::unique_ptr<GpuTimeline> timeline_;  ///< null: the host's clock
  bool is_paused_ = false;
  Phase current_ = Phase::other;
  Clock::time_point since_ = Clock::now();
};

}  // namespace espalier::device
