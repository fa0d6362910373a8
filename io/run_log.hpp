#pragma once
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <string>
#include <string_view>

namespace espalier::io {

/// One row of history.csv. Columns: step,tokens,loss,grad_norm,learning_rate,tokens_per_second,
/// validation_loss,validation_bits_per_byte (the last two empty on most rows). Losses and norms are
/// printed so that the double can be read back exactly.
struct HistoryRow {
  std::int64_t step;
  std::uint64_t tokens;
  double loss;
  double grad_norm;
  double learning_rate;
  double tokens_per_second;
};

/// history.csv and run.log of a run directory, appended to line by line and flushed. On restart,
/// history rows after `restart_step` are cut off, so that the file reads as one run.
class RunLog {
 public:
  /// Creates the directory. Throws Error (io_error) when it cannot be written.
  RunLog(const std::filesystem::path& directory, std::int64_t restart_step);
  void line(std::string_view text);  ///< run.log, with the time
  void step(const HistoryRow& row);
  void validation(std::int64_t step, double loss, double bits_per_byte);  ///< validation.csv

 private:
  std::filesystem::path directory_;
  std::ofstream history_, log_, validation_;
};

}  // namespace espalier::io
