#pragma once
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <optional>
#include <string>
#include <string_view>

namespace espalier::io {

/// One row of history.csv. Columns: step,tokens,loss,grad_norm,learning_rate,tokens_per_second,
/// validation_loss,validation_bits_per_byte (the last two empty on most rows). All numbers are
/// printed so that the double can be read back exactly.
struct HistoryRow {
  std::int64_t step;
  std::uint64_t tokens;
  double loss;
  double grad_norm;
  double learning_rate;
  double tokens_per_second;
};

/// history.csv, validation.csv and run.log of a run directory, appended to line by line and flushed
/// to the system. For one rank (0). Every function throws Error (io_error) that names the file when
/// a line cannot be written.
class RunLog {
 public:
  /// Creates the directory. The tables keep their rows up to `restart_step` (0: none), so that they
  /// read as one run; a last line that a kill tore is dropped. run.log keeps everything.
  RunLog(const std::filesystem::path& directory, std::int64_t restart_step);
  void line(std::string_view text);  ///< run.log, with the time
  /// history.csv; with the validation columns when validation() was called for this step before.
  void step(const HistoryRow& row);
  void validation(std::int64_t step, double loss, double bits_per_byte);  ///< validation.csv

 private:
  struct Validation {
    std::int64_t step;
    double loss, bits_per_byte;
  };
  void append(std::ofstream& file, const char* name, const std::string& text);

  std::filesystem::path directory_;
  std::ofstream history_, log_, validation_;
  std::optional<Validation> last_validation_;
};

}  // namespace espalier::io
