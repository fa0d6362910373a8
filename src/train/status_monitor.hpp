#pragma once
#include <cstddef>
#include <vector>

#include "train/monitor.hpp"
#include "train/progress.hpp"
#include "train/status_file.hpp"

namespace espalier::train {

/// Tells status.json how far the run is. Rank 0.
class StatusMonitor final : public Monitor {
 public:
  /// References must outlive the monitor.
  StatusMonitor(const MonitoredRun& run, StatusFile& file, const Progress& progress);
  void at_start() override;
  void after_step(const StepReport& report) override;
  void after_validation(const ValidationReport& report) override;
  void after_rollback() override;
  void after_save(const SaveReport& report) override;

 private:
  MonitoredRun run_;
  StatusFile& file_;
  const Progress& progress_;
  std::vector<double> last_seconds_;  ///< of the last steps, a ring
  std::size_t num_steps_ = 0;
};

}  // namespace espalier::train
