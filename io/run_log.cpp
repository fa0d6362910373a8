#include "io/run_log.hpp"

#include <fcntl.h>
#include <fmt/chrono.h>
#include <fmt/format.h>

#include <cerrno>
#include <charconv>
#include <chrono>
#include <ctime>
#include <optional>
#include <system_error>
#include <utility>

#include "base/error.hpp"

namespace espalier::io {

namespace fs = std::filesystem;

namespace {

/// The step at the beginning of a row; nothing when there is none.
std::optional<std::int64_t> step_of(std::string_view row) {
  std::int64_t step = 0;
  const auto [end, error] = std::from_chars(row.data(), row.data() + row.size(), step);
  if (error != std::errc{} || end == row.data() + row.size() || *end != ',') return std::nullopt;
  return step;
}

/// Somebody else's file of the same name is not cut: a table of a run begins with its header, or
/// with what a kill left of it, or with a row.
void require_own_table(const fs::path& path, std::string_view first_line, std::string_view header,
                       bool is_torn) {
  const bool is_ours = first_line == header || step_of(first_line).has_value() ||
                       (is_torn && header.starts_with(first_line));
  require(
      is_ours, ExitStatus::bad_configuration,
      "{}: is there already, and no table of a training run, which begins with \"{}\". Move it, "
      "or choose another output.directory",
      path.string(), header);
}

/// Rewrites a table so that it holds its header and the rows up to `last_step`. A last line without
/// its end is what a kill left of a row: it goes. Returns the step of the last row; -1: none.
std::int64_t cut_table(const fs::path& path, std::string_view header, std::int64_t last_step) {
  std::string kept = std::string(header) + "\n";
  bool changed = true;
  std::int64_t last = -1;
  if (std::ifstream old(path, std::ios::binary); old) {
    std::string row;
    bool is_first = true;
    changed = false;
    while (std::getline(old, row)) {
      if (is_first) require_own_table(path, row, header, old.eof());
      const bool is_torn = old.eof();
      if (std::exchange(is_first, false) && row == header && !is_torn) continue;
      const auto step = step_of(row);
      if (is_torn || !step || *step > last_step) {
        changed = true;
        continue;
      }
      kept += row + "\n";
      last = *step;
    }
    changed = changed || is_first;
  }
  if (!changed) return last;
  fs::path temporary = path;
  temporary += ".tmp";
  {
    FileDescriptor file(temporary, O_WRONLY | O_CREAT | O_TRUNC);
    file.write_at(kept.data(), kept.size(), 0);
    file.flush();
  }
  rename_path(temporary, path);
  return last;
}

/// A line that a kill tore off gets its end, so that the next one starts afresh.
void end_last_line(const fs::path& path) {
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  if (!file || file.tellg() <= 0) return;
  file.seekg(-1, std::ios::end);
  if (file.get() == '\n') return;
  std::ofstream(path, std::ios::app) << '\n';
}

std::ofstream open_to_append(const fs::path& path) {
  errno = 0;
  std::ofstream file(path, std::ios::app);
  if (!file) fail_io("open", path, errno != 0 ? errno : EIO);
  return file;
}

/// What is lost when the history keeps its rows up to `last_step`.
RunLog::Lost rows_behind(const fs::path& directory, std::int64_t last_step) {
  RunLog::Lost lost;
  std::vector<HistoryRow> rows;
  try {
    rows = read_history(directory);
  } catch (const Error&) {
    return lost;  // cut_table says what is wrong, or mends it
  }
  for (std::size_t i = rows.size(); i-- > 0 && rows[i].step > last_step;) {
    ++lost.steps;
    lost.seconds += seconds_of(rows, i);
  }
  return lost;
}

constexpr const char* kLogName = "run.log";

}  // namespace

RunLog::RunLog(const RunLock& lock, std::int64_t restart_step, bool has_experts)
    : lock_(lock), history_header_(has_experts ? kExpertHistoryHeader : kHistoryHeader) {
  lost_ = cut(restart_step);
  const fs::path path = lock.directory() / kLogName;
  end_last_line(path);
  log_ = open_to_append(path);
}

RunLog::Lost RunLog::cut(std::int64_t step) {
  const fs::path& directory = lock_.directory();
  const Lost lost = rows_behind(directory, step);
  // A new run keeps no row at all, not even one of step 0.
  const std::int64_t last_step = step > 0 ? step : -1;
  history_.close();
  validation_.close();
  cut_table(directory / kHistoryName, history_header_, last_step);
  last_validation_ = cut_table(directory / kValidationName, kValidationHeader, last_step);
  history_ = open_to_append(directory / kHistoryName);
  validation_ = open_to_append(directory / kValidationName);
  return lost;
}

void RunLog::append(std::ofstream& file, const char* name, const std::string& text) {
  lock_.require_held();
  errno = 0;
  file << text;
  file.flush();
  if (!file) fail_io("write", lock_.directory() / name, errno != 0 ? errno : EIO);
}

void RunLog::line(std::string_view text) {
  const std::time_t now = std::time(nullptr);
  append(log_, kLogName, fmt::format("{:%Y-%m-%d %H:%M:%S} {}\n", fmt::localtime(now), text));
}

void RunLog::step(const HistoryRow& row) {
  // {} prints the shortest text that reads back as the same double.
  std::string text = fmt::format("{},{},{},{},{},{}", row.step, row.tokens, row.loss, row.grad_norm,
                                 row.learning_rate, row.tokens_per_second);
  if (row.experts)
    text += fmt::format(",{},{},{},{},{}", row.experts->balance_loss, row.experts->z_loss,
                        row.experts->load, row.experts->not_chosen, row.experts->further_rounds);
  append(history_, kHistoryName, text + "\n");
}

void RunLog::validation(std::int64_t step, double loss, double bits_per_byte) {
  append(validation_, kValidationName, fmt::format("{},{},{}\n", step, loss, bits_per_byte));
}

}  // namespace espalier::io
