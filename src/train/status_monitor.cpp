#include "train/status_monitor.hpp"

#include <algorithm>
#include <numeric>

#include "base/log.hpp"

namespace espalier::train {
namespace {

/// Speed and time left are those of so many steps.
constexpr std::size_t kWindow = 32;

}  // namespace

StatusMonitor::StatusMonitor(const MonitoredRun& run, StatusFile& file, const Progress& progress)
    : run_(run), file_(file), progress_(progress), last_seconds_(kWindow, 0.0) {}

void StatusMonitor::at_start() {
  file_.change([&](runs::RunStatus& status) {
    status.state = runs::State::training;
    status.step = run_.state.step;
    status.steps = run_.parameters.training.steps;
  });
}

void StatusMonitor::after_step(const StepReport& report) {
  last_seconds_[num_steps_++ % kWindow] = report.seconds;
  const auto count = static_cast<double>(std::min(num_steps_, kWindow));
  const double step_s = std::accumulate(last_seconds_.begin(), last_seconds_.end(), 0.0) / count;
  const Rates rates = progress_.rates_of(step_s);
  file_.change([&](runs::RunStatus& status) {
    status.step = report.step;
    status.loss = report.loss;
    status.grad_norm = report.grad_norm;
    status.learning_rate = report.learning_rate;
    if (report.experts) {
      status.expert_load = report.experts->busiest().largest;
      status.balance_loss = report.experts->balance_loss;
    }
    status.tokens_per_second = rates.tokens_per_second;
    status.mfu = rates.mfu;
    status.eta_s = static_cast<double>(run_.parameters.training.steps - report.step) * step_s;
  });
  if (const std::string trouble = file_.trouble(); !trouble.empty())
    log::warn("status.json is not up to date: {}", trouble);
}

void StatusMonitor::after_validation(const ValidationReport& report) {
  file_.change([&](runs::RunStatus& status) {
    status.validation_step = report.step;
    status.validation_loss = report.loss;
    status.bits_per_byte = report.bits_per_byte;
  });
}

void StatusMonitor::after_save(const SaveReport& report) {
  file_.change([&](runs::RunStatus& status) {
    status.checkpoint_step = report.step;
    status.checkpoint_time = runs::now_s();
  });
}

void StatusMonitor::after_rollback() {
  file_.change([&](runs::RunStatus& status) {
    status.step = run_.state.step;
    status.steps = run_.parameters.training.steps;
  });
}

}  // namespace espalier::train
