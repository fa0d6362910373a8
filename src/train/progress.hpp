#pragma once
#include <chrono>
#include <cstdint>
#include <string>

#include "config/parameters.hpp"
#include "device/profiler.hpp"
#include "model/architecture.hpp"
#include "parallel/comm/communicator.hpp"
#include "parallel/layout/grid.hpp"
#include "train/monitor.hpp"

namespace espalier::train {

/// Speed of steps that take so long.
struct Rates {
  double tokens_per_second = 0.0, step_s = 0.0;
  double mfu = 0.0, mfu_full = 0.0;  ///< shares of the measured peak; nan without one
};

/// Turns step reports into lines for a person: throughput and MFU over the steps since the last
/// printed line, and the time left.
class Progress final : public Monitor {
 public:
  /// `gemm_peak`: FLOP/s of all ranks together, measured; the reference of MFU; 0: no MFU.
  /// `attended_length`: S, or less when attention stays inside documents.
  Progress(const config::Parameters& parameters, const model::Architecture& architecture,
           double attended_length, double gemm_peak);

  /// Prints a line every training.log_interval steps, at the first and at the last; in between it
  /// refreshes the live line of a terminal.
  void after_step(const StepReport& report) override;
  /// Tokens per second of one step.
  double tokens_per_second(const StepReport& report) const;
  Rates rates_of(double step_s) const;
  Rates rates() const;  ///< over all steps but the first; nan with fewer than two
  double flops_per_token() const { return causal_flops_; }  ///< causal attention counted half
  double full_flops_per_token() const { return full_flops_; }
  double peak_flops() const { return gemm_peak_; }  ///< of all ranks; 0: not measured
  /// "throughput 12,345 tok/s, MFU 61.2 % (63.4 % full attention) of the measured peak 824 GFLOP/s"
  /// over all steps but the first.
  std::string summary() const;

 private:
  std::string format(const StepReport& report, double seconds, std::int64_t steps) const;
  std::int64_t last_step_;
  std::int64_t interval_;
  double tokens_per_step_;
  double causal_flops_, full_flops_;  ///< per token
  double gemm_peak_;
  std::int64_t steps_since_line_ = 0;
  double seconds_since_line_ = 0.0;
  std::int64_t measured_steps_ =
      0;  ///< without the first, which builds primitives and touches memory
  double measured_seconds_ = 0.0;
  bool first_ = true;
};

/// Table of where the time went: per phase min, mean and max over the ranks and the share of the
/// mean. Collective; the text is the same on every rank. Phases without time are left out.
std::string phase_table(const device::Profiler& profiler, parallel::Communicator& world);

}  // namespace espalier::train
