#pragma once
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace espalier::io {

// The tables of a run directory, which RunLog writes, read back.

inline constexpr const char* kHistoryName = "history.csv";
inline constexpr const char* kValidationName = "validation.csv";
inline constexpr std::string_view kHistoryHeader =
    "step,tokens,loss,grad_norm,learning_rate,tokens_per_second";
/// The same of a model with experts.
inline constexpr std::string_view kExpertHistoryHeader =
    "step,tokens,loss,grad_norm,learning_rate,tokens_per_second,balance_loss,z_loss,expert_load,"
    "experts_not_chosen,further_rounds";
inline constexpr std::string_view kValidationHeader = "step,loss,bits_per_byte";

/// What a row says of experts (model::ExpertLoad).
struct ExpertColumns {
  double balance_loss = 0.0, z_loss = 0.0;
  double load = 0.0;  ///< of the busiest expert of all blocks, in means of its block
  std::int64_t not_chosen = 0, further_rounds = 0;
};

/// One row of history.csv, columns in this order. All numbers are printed so that the double can be
/// read back exactly.
struct HistoryRow {
  std::int64_t step = 0;
  std::uint64_t tokens = 0;
  double loss = 0.0;
  double grad_norm = 0.0;
  double learning_rate = 0.0;
  double tokens_per_second = 0.0;
  std::optional<ExpertColumns> experts = {};  ///< of a model that has some
};
/// Seconds of the step of row `i`: its tokens over its speed.
double seconds_of(const std::vector<HistoryRow>& rows, std::size_t i);

struct ValidationRow {
  std::int64_t step = 0;
  double loss = 0.0;
  double bits_per_byte = 0.0;
};

/// All rows, in order; none when there is no file. A last line without its end, which a job is
/// writing or a kill tore, is left out. Throws Error (bad_data) that names file and line when
/// something else stands there, (io_error) when the file cannot be read.
std::vector<HistoryRow> read_history(const std::filesystem::path& run_directory);
std::vector<ValidationRow> read_validation(const std::filesystem::path& run_directory);

/// A row of history.csv with its numbers as they stand there, digit by digit.
struct HistoryWords {
  std::int64_t step = 0;
  std::string tokens, loss, grad_norm, learning_rate, tokens_per_second;
};
/// As read_history.
std::vector<HistoryWords> read_history_words(const std::filesystem::path& run_directory);

}  // namespace espalier::io
