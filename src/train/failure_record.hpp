#pragma once
#include <cstdint>
#include <exception>
#include <filesystem>
#include <string>

namespace espalier::train {

/// Adds a line with the time to run.log, beside the job that has it open. Throws Error (io_error)
/// when it cannot be opened.
void append_to_run_log(const std::filesystem::path& run_directory, const std::string& text);

/// Where and when a job failed.
struct FailurePlace {
  std::filesystem::path run_directory;
  std::int64_t job = 0;  ///< its number in the run directory
  std::int64_t step = 0;
  int rank = 0;
};
/// Leaves what ends a job in its run directory, as an event "error" and a line of run.log, for
/// those who did not see standard error. Bad numbers have an event of their own already. An error
/// that every rank meets is told by rank 0 alone; a stop that was asked for is none. Throws
/// nothing: what cannot be written is on standard error.
void record_failure(const FailurePlace& place, const std::exception& exception) noexcept;

}  // namespace espalier::train
