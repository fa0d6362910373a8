#include "device/profiler.hpp"

#include "base/activity.hpp"
#include "device/gpu_timeline.hpp"

namespace espalier::device {

Profiler::Profiler() = default;
Profiler::~Profiler() = default;

void Profiler::measure_stream(std::shared_ptr<Gpu> gpu, Stream stream) {
  timeline_ = std::make_unique<GpuTimeline>(std::move(gpu), stream, current_);
}

std::string_view name_of(Phase phase) {
  static constexpr std::array<std::string_view, kNumPhases> kNames{"data",
                                                                   "embedding",
                                                                   "norm",
                                                                   "projections",
                                                                   "rope",
                                                                   "attention",
                                                                   "mlp",
                                                                   "activation",
                                                                   "router",
                                                                   "head",
                                                                   "loss",
                                                                   "tensor communication",
                                                                   "context communication",
                                                                   "expert communication",
                                                                   "pipeline communication",
                                                                   "gradient communication",
                                                                   "weight communication",
                                                                   "clipping",
                                                                   "optimizer",
                                                                   "validation",
                                                                   "checkpoint",
                                                                   "other"};
  return kNames[static_cast<std::size_t>(phase)];
}

Profiler::Scope::Scope(Profiler& profiler, Phase phase)
    : profiler_(profiler), outer_(profiler.current_) {
  // Validation and checkpoints are one line each in the table, whatever they call. A watchdog sees
  // what it is.
  is_absorbed_ = outer_ == Phase::validation || outer_ == Phase::checkpoint;
  profiler_.enter(is_absorbed_ ? outer_ : phase);
  if (is_absorbed_) activity::enter(name_of(phase).data());
}

Profiler::Scope::~Scope() {
  profiler_.enter(outer_);
  if (is_absorbed_) activity::enter(name_of(outer_).data());
}

void Profiler::enter(Phase phase) {
  if (phase == current_) return;
  if (timeline_ != nullptr) {
    if (!is_paused_) timeline_->mark(phase);
  } else {
    const auto now = Clock::now();
    seconds_[static_cast<std::size_t>(current_)] +=
        std::chrono::duration<double>(now - since_).count();
    since_ = now;
  }
  current_ = phase;
  activity::enter(name_of(phase).data());
}

std::array<double, kNumPhases> Profiler::seconds() const {
  if (timeline_ != nullptr) return timeline_->seconds();
  auto result = seconds_;
  result[static_cast<std::size_t>(current_)] +=
      std::chrono::duration<double>(Clock::now() - since_).count();
  return result;
}

void Profiler::add_cost(const Operation& operation, double flops, double bytes) {
  const auto add = [&](PhaseCost& cost) {
    cost.flops += flops;
    cost.bytes += bytes;
    ++cost.calls;
  };
  add(costs_[static_cast<std::size_t>(current_)]);
  if (records_operations_) add(operations_[operation]);
}

void Profiler::add_costs(const std::array<PhaseCost, kNumPhases>& costs) {
  for (std::size_t i = 0; i < kNumPhases; ++i) {
    costs_[i].flops += costs[i].flops;
    costs_[i].bytes += costs[i].bytes;
    costs_[i].calls += costs[i].calls;
  }
}

void Profiler::reset() {
  seconds_ = {};
  costs_ = {};
  operations_.clear();
  since_ = Clock::now();
  if (timeline_ != nullptr) timeline_->reset();
}

}  // namespace espalier::device
