#include "device/profiler.hpp"

namespace espalier::device {

std::string_view name_of(Phase phase) {
  static constexpr std::array<std::string_view, kNumPhases> kNames{"data",
                                                                   "embedding",
                                                                   "norm",
                                                                   "projections",
                                                                   "rope",
                                                                   "attention",
                                                                   "mlp",
                                                                   "activation",
                                                                   "head",
                                                                   "loss",
                                                                   "tensor communication",
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
  // Validation and checkpoints are one line each in the table, whatever they call.
  const bool absorbs = outer_ == Phase::validation || outer_ == Phase::checkpoint;
  profiler_.enter(absorbs ? outer_ : phase);
}

Profiler::Scope::~Scope() {
  profiler_.enter(outer_);
}

void Profiler::enter(Phase phase) {
  const auto now = Clock::now();
  seconds_[static_cast<std::size_t>(current_)] +=
      std::chrono::duration<double>(now - since_).count();
  since_ = now;
  current_ = phase;
}

std::array<double, kNumPhases> Profiler::seconds() const {
  auto result = seconds_;
  result[static_cast<std::size_t>(current_)] +=
      std::chrono::duration<double>(Clock::now() - since_).count();
  return result;
}

void Profiler::reset() {
  seconds_ = {};
  costs_ = {};
  since_ = Clock::now();
}

}  // namespace espalier::device
