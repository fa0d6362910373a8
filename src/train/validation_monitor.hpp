#pragma once
#include <cstdint>
#include <functional>

#include "io/run_log.hpp"
#include "train/dataset.hpp"
#include "train/evaluator.hpp"
#include "train/monitor.hpp"
#include "train/step_exchange.hpp"

namespace espalier::train {

/// Evaluates data.validation every validation.interval steps and, as validation.at_end says, after
/// the last step of the run. One that a stop request or the time limit cuts off is made by the next
/// job.
class ValidationMonitor final : public Monitor {
 public:
  using Tell = std::function<void(const ValidationReport&)>;
  /// `log`: on rank 0, else null. `validated_step`: the last step that was validated before this
  /// job, -1: none. `tell`: hands the result to the other monitors. All references must outlive the
  /// monitor.
  ValidationMonitor(const MonitoredRun& run, const Dataset& data, data::DocumentRule documents,
                    StepExchange& exchange, CheckpointMonitor& checkpoints, Deadline& deadline,
                    io::RunLog* log, std::int64_t validated_step, Tell tell);

  /// What a stop request cut off in the job before.
  void at_start() override;
  void after_step(const StepReport& report) override;
  void at_end(bool all_steps) override;
  void after_rollback() override;

  /// One is due at this step and was not made, or not to the end.
  bool is_left() const { return is_left_; }

 private:
  void validate();
  void leave(const Evaluation& result);  ///< one that was broken off

  MonitoredRun run_;
  const Dataset& data_;
  data::DocumentRule documents_;
  StepExchange& exchange_;
  CheckpointMonitor& checkpoints_;
  Deadline& deadline_;
  io::RunLog* log_;
  std::int64_t validated_step_;
  Tell tell_;
  double round_s_ = 0.0;  ///< of the last validation
  bool is_left_ = false;
};

}  // namespace espalier::train
