#include "train/progress.hpp"

#include <algorithm>
#include <array>
#include <limits>

#include "base/log.hpp"
#include "base/text.hpp"
#include "plan/flops.hpp"

namespace espalier::train {

Progress::Progress(const config::Parameters& p, const model::Architecture& architecture,
                   double attended_length, double gemm_peak)
    : last_step_(p.training.steps),
      interval_(p.training.log_interval),
      tokens_per_step_(
          static_cast<double>(p.training.global_batch_size * p.training.sequence_length)),
      gemm_peak_(gemm_peak) {
  const plan::FlopsPerToken flops = plan::flops_per_token(architecture, attended_length);
  causal_flops_ = flops.causal_attention;
  full_flops_ = flops.full_attention;
}

double Progress::tokens_per_second(const StepReport& report) const {
  return tokens_per_step_ / report.seconds;
}

Rates Progress::rates_of(double step_s) const {
  constexpr double kNone = std::numeric_limits<double>::quiet_NaN();
  const double rate = tokens_per_step_ / step_s;
  return {.tokens_per_second = rate,
          .step_s = step_s,
          .mfu = gemm_peak_ > 0.0 ? rate * causal_flops_ / gemm_peak_ : kNone,
          .mfu_full = gemm_peak_ > 0.0 ? rate * full_flops_ / gemm_peak_ : kNone};
}

Rates Progress::rates() const {
  return rates_of(measured_steps_ > 0 ? measured_seconds_ / static_cast<double>(measured_steps_)
                                      : std::numeric_limits<double>::quiet_NaN());
}

std::string Progress::format(const StepReport& report, double seconds, std::int64_t steps) const {
  const double rate = tokens_per_step_ * static_cast<double>(steps) / seconds;
  const double left =
      static_cast<double>(last_step_ - report.step) * seconds / static_cast<double>(steps);
  return fmt::format(
      "step {:>6}/{}  loss {:8.5f}  grad norm {:8.4f}  lr {:.3e}  {:>9} tok/s{}  ETA {}",
      report.step, last_step_, report.loss, report.grad_norm, report.learning_rate,
      with_commas(static_cast<std::int64_t>(rate)),
      gemm_peak_ > 0.0 ? fmt::format("  MFU {:4.1f} % ({:4.1f} % full attention)",
                                     100.0 * rate * causal_flops_ / gemm_peak_,
                                     100.0 * rate * full_flops_ / gemm_peak_)
                       : std::string(),
      human_duration(left));
}

void Progress::after_step(const StepReport& report) {
  ++steps_since_line_;
  seconds_since_line_ += report.seconds;
  if (!first_) {
    ++measured_steps_;
    measured_seconds_ += report.seconds;
  }
  const bool due = first_ || report.step % interval_ == 0 || report.step == last_step_;
  first_ = false;
  if (!due) {
    log::live(format(report, seconds_since_line_, steps_since_line_));
    return;
  }
  log::info("{}", format(report, seconds_since_line_, steps_since_line_));
  if (report.experts) log::info("  experts: {}", report.experts->describe());
  steps_since_line_ = 0;
  seconds_since_line_ = 0.0;
}

std::string Progress::summary() const {
  if (measured_steps_ == 0) return "throughput: not measured (fewer than two steps)";
  const double rate = tokens_per_step_ * static_cast<double>(measured_steps_) / measured_seconds_;
  if (gemm_peak_ <= 0.0)
    return fmt::format("throughput {} tok/s", with_commas(static_cast<std::int64_t>(rate)));
  return fmt::format(
      "throughput {} tok/s, MFU {:.1f} % ({:.1f} % full attention) of the measured peak {:.0f} "
      "GFLOP/s",
      with_commas(static_cast<std::int64_t>(rate)), 100.0 * rate * causal_flops_ / gemm_peak_,
      100.0 * rate * full_flops_ / gemm_peak_, gemm_peak_ * 1e-9);
}

std::string phase_table(const device::Profiler& profiler, parallel::Communicator& world) {
  std::array<double, device::kNumPhases> low = profiler.seconds();
  std::array<double, device::kNumPhases> high = low;
  std::array<double, device::kNumPhases> sum = low;
  world.all_reduce_min(low);
  world.all_reduce_max(high);
  world.all_reduce_sum(sum);
  double total = 0.0;
  for (const double value : sum) total += value;
  std::string text = fmt::format("where the time went  {:>10} {:>10} {:>10} {:>7}\n", "min s",
                                 "mean s", "max s", "share");
  for (std::size_t i = 0; i < device::kNumPhases; ++i)
    if (high[i] > 0.0)
      text += fmt::format("  {:<22}{:>7.2f} {:>10.2f} {:>10.2f} {:>5.1f} %\n",
                          device::name_of(static_cast<device::Phase>(i)), low[i],
                          sum[i] / world.size(), high[i], 100.0 * sum[i] / total);
  text += fmt::format("  {:<22}{:>7} {:>10.2f}", "all", "", total / world.size());
  return text;
}

}  // namespace espalier::train
