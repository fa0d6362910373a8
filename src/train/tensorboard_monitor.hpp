#pragma once
#include <filesystem>

#include "io/run_lock.hpp"
#include "io/tensorboard_file.hpp"
#include "train/monitor.hpp"
#include "train/progress.hpp"

namespace espalier::train {

/// With output.tensorboard: the columns of history.csv and validation.csv as event files of
/// TensorBoard. Rank 0.
class TensorboardMonitor final : public Monitor {
 public:
  /// A new file in the run directory's folder `tensorboard`. References must outlive the monitor.
  TensorboardMonitor(const MonitoredRun& run, const io::RunLock& lock, std::int64_t job,
                     const Progress& progress)
      : run_(run),
        lock_(lock),
        file_(lock.directory() / "tensorboard", job, run.state.step + 1),
        progress_(progress) {}
  void after_step(const StepReport& report) override;
  void after_validation(const ValidationReport& report) override;
  void after_rollback() override;

 private:
  MonitoredRun run_;
  const io::RunLock& lock_;
  io::TensorboardFile file_;
  const Progress& progress_;
};

}  // namespace espalier::train
