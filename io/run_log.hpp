#pragma once
#include <cstdint>
#include <fstream>
#include <string>
#include <string_view>

#include "io/run_lock.hpp"
#include "io/run_tables.hpp"

namespace espalier::io {

/// history.csv, validation.csv and run.log of a run directory, appended to line by line and flushed
/// to the system. For one rank (0). Every function throws Error (io_error) that names the file when
/// a line cannot be written.
class RunLog {
 public:
  /// In the directory of `lock`, which must outlive it. The tables keep their rows up to
  /// `restart_step` (0: none), so that they read as one run; a last line that a kill tore is
  /// dropped. run.log keeps everything. `restart_step` was found out while the lock was held: of an
  /// older state it would cut rows that another job has written since.
  /// `has_experts`: rows of history.csv have HistoryRow::experts.
  RunLog(const RunLock& lock, std::int64_t restart_step, bool has_experts = false);
  void line(std::string_view text);  ///< run.log, with the time
  void step(const HistoryRow& row);  ///< history.csv
  /// The step of the last row of validation.csv when it was opened; -1: it has none.
  std::int64_t last_validation() const { return last_validation_; }
  /// Rows of history.csv behind `restart_step` when it was opened, which were cut off: steps that
  /// an earlier job made in vain, and the seconds that they took.
  struct Lost {
    std::int64_t steps = 0;
    double seconds = 0.0;
  };
  const Lost& lost() const { return lost_; }
  void validation(std::int64_t step, double loss, double bits_per_byte);  ///< validation.csv
  /// The tables lose their rows behind `step`, as at a restart there; last_validation() follows.
  /// Returns what history.csv lost.
  Lost cut(std::int64_t step);

 private:
  void append(std::ofstream& file, const char* name, const std::string& text);

  const RunLock& lock_;
  std::string_view history_header_;
  std::int64_t last_validation_;
  Lost lost_;
  std::ofstream history_, log_, validation_;
};

}  // namespace espalier::io
