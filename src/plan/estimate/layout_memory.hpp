#pragma once
#include <map>
#include <optional>
#include <string>
#include <tuple>
#include <vector>

#include "plan/estimate/estimate.hpp"
#include "plan/flops.hpp"
#include "plan/memory_fit.hpp"
#include "plan/stage_memory.hpp"

namespace espalier::plan {

/// The memory of many layouts of one run, to the byte that of TrainingMemory::planned for the rank
/// that needs most. Where blocks are alike it is put together from small plans (stage_memory.hpp);
/// of others, those ranks of a pipeline are planned that may need most (largest_of_each_kind).
class LayoutMemory {
 public:
  /// `hardware` must outlive it.
  explicit LayoutMemory(const config::HardwareParameters& hardware) : hardware_(hardware) {}
  /// An estimate without times. Of one run: calls differ in nothing but what a layout decides.
  Estimate of(const config::Parameters& parameters);

 private:
  std::int64_t rank_bytes(const config::Parameters& parameters);
  std::int64_t planned_rank_bytes(const config::Parameters& parameters) const;
  const std::vector<RankBuffers>& buffers_of(const config::Parameters& parameters,
                                             const parallel::GridShape& shape);

  // By what they depend on.
  using StateKey =
      std::tuple<std::int64_t, std::int64_t, std::int64_t, std::int64_t, bool, std::int64_t>;
  using ActivationKey =
      std::tuple<std::int64_t, std::int64_t, std::int64_t, bool, std::int64_t, std::string>;
  using RanksKey = std::tuple<std::string, std::int64_t, std::int64_t>;

  const config::HardwareParameters& hardware_;
  std::map<StateKey, std::optional<StateBytes>> states_;
  std::map<ActivationKey, std::optional<ActivationBytes>> activations_;
  std::map<StateKey, std::int64_t> libraries_;
  std::map<RanksKey, std::vector<std::vector<StageKind>>> ranks_;  ///< stages of each rank
  ScheduleBuffers buffers_;
};

/// The memory of a device of that kind.
Room room_on(const config::HardwareParameters& hardware);
/// The run with the mix that memory.recompute = "budget" chooses for that device; else unchanged.
config::Parameters chosen_for(const config::Parameters& parameters,
                              const config::HardwareParameters& hardware);

/// What all layouts of a run have in common.
struct RunFigures {
  std::int64_t num_parameters = 0;
  FlopsPerToken flops;
  static RunFigures of(const config::Parameters& parameters);
};
/// Everything of an estimate that is not memory, with the time of a step.
void add_times(Estimate& estimate, const StepTime& time, const config::Parameters& parameters,
               const config::HardwareParameters& hardware, const RunFigures& run);

}  // namespace espalier::plan
