#pragma once
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <variant>
#include <vector>

namespace espalier::io {

/// Something that happened to a run and that is no step: a job began or ended, a checkpoint became
/// complete, a spike was met, a rank hung. What report, status and a person at night read.
struct Event {
  /// A text, a number, or a list of numbers (ranks).
  using Value = std::variant<std::string, double, std::vector<std::int64_t>>;
  std::string kind;       ///< one of the list below
  std::int64_t step = 0;  ///< steps done when it happened
  std::vector<std::pair<std::string, Value>> details = {};
  // Set where it is written:
  double time_s = 0.0;   ///< since 1970
  std::int64_t job = 0;  ///< number of the job in the run directory, from 1

  /// The detail of that name; empty text, nan, when there is none.
  std::string text(std::string_view name) const;
  double number(std::string_view name) const;
};

// Kinds, with their details (unit in the name: _s seconds, _bytes). Who writes one adds it here.
//   start       ranks, grid, host (of rank 0), continued_step (-1: a new run), slurm_job (or ""),
//               device, wall_s (since the process was started), lost_steps and lost_s (rows that
//               were cut off the history: an earlier job did them in vain), previous_sign_s (when
//               the job before was alive, since 1970), flops_per_token, full_flops_per_token,
//               peak_flops (of all ranks; MFU is a share of it)
//   checkpoint  of_step, write_s (of the file of the slowest rank, and to the marker), stall_s (the
//               training waited), bytes, path
//   save        by ("SIGUSR1", "file"): a checkpoint was asked for
//   stop        reason ("signal", "file", "time_limit", "stop_after"), by (signal or file)
//   spike       what ("loss", "grad_norm", "not_finite"), value, mean, deviation, action ("stop",
//               "skip", "rollback")
//   rollback    from_step, to_step, samples_left_out
//   audit       tensor, ranks: replicated weights that are not equal
//   damaged     path, why: a checkpoint that was passed over
//   hang        ranks, host, activity, seconds
//   error       status, rank, message
//   end         state ("finished", "stopped"), reason, status, steps (of this job), wall_s, start_s
//               (until the first step), step_s (in steps, without stalls), validation_s,
//               checkpoint_s (stalls), tokens_per_second

/// events.jsonl of a run directory: a line of JSON per event, {"time", "job", "step", "event",
/// details...}. It is only ever appended to, each line with one write, so that any rank and any job
/// may add one and a kill leaves whole lines.
class EventLog {
 public:
  /// `job`: of the lines to come. Nothing is opened before the first.
  EventLog(std::filesystem::path run_directory, std::int64_t job)
      : path_(std::move(run_directory) / "events.jsonl"), job_(job) {}
  /// Throws Error (io_error) that names the file.
  void append(const Event& event) const;
  std::int64_t job() const { return job_; }

 private:
  std::filesystem::path path_;
  std::int64_t job_;
};

/// All events of a run directory, in the order of the file; none when there is no file. A line that
/// is no event (torn by a full disk) is left out.
std::vector<Event> read_events(const std::filesystem::path& run_directory);

}  // namespace espalier::io
