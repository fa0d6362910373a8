#pragma once
#include <cstdint>
#include <filesystem>
#include <limits>
#include <optional>
#include <string>
#include <string_view>

namespace espalier::runs {

inline constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN();
inline constexpr const char* kStatusName = "status.json";

enum class State { starting, training, validating, saving, stopped, finished, failed };
std::string_view name_of(State state);
/// No job works any more.
constexpr bool is_over(State state) {
  return state == State::stopped || state == State::finished || state == State::failed;
}

/// status.json of a run directory: how the run stands, for scripts that poll and for
/// `espalier status`. Times are seconds since 1970; nan is null in the file.
struct RunStatus {
  State state = State::starting;
  std::string activity;  ///< what rank 0 does: a phase of the step, or of the start
  std::string run;       ///< run.name
  std::int64_t step = 0, steps = 0;
  double loss = kUnknown, grad_norm = kUnknown, learning_rate = kUnknown;
  double tokens_per_second = kUnknown, mfu = kUnknown;  ///< over the last steps; mfu: a share
  double validation_loss = kUnknown, bits_per_byte = kUnknown;
  std::int64_t validation_step = -1;  ///< -1: none yet
  /// Of a model with experts (model::ExpertLoad): the busiest one, in means of its block.
  double expert_load = kUnknown, balance_loss = kUnknown;
  double eta_s = kUnknown;            ///< of the steps that are left
  std::int64_t checkpoint_step = -1;  ///< of the newest complete one; -1: none
  double checkpoint_time = kUnknown;
  std::int64_t job = 1;
  std::string slurm_job, host, grid;
  std::int64_t pid = 0, ranks = 1;
  double started = 0.0, updated = 0.0;
  double elapsed_s = 0.0;   ///< of this job
  double interval_s = 5.0;  ///< until the file is written again, while a job lives
};

std::string to_json(const RunStatus& status);
/// Nothing when there is no such file or it is none of ours.
std::optional<RunStatus> read_status(const std::filesystem::path& run_directory);

double now_s();  ///< since 1970
/// When a file was last written, since 1970; nan where there is none.
double file_time_s(const std::filesystem::path& path);

}  // namespace espalier::runs
