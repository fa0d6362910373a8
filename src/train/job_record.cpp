#include "train/job_record.hpp"

#include <algorithm>
#include <array>
#include <cstdlib>
#include <vector>

#include "base/process_age.hpp"
#include "device/phase.hpp"
#include "io/checkpoint_files.hpp"
#include "io/replaced_file.hpp"
#include "runs/run_status.hpp"

namespace espalier::train {
namespace {

using device::Phase;

bool is_communication(Phase phase) {
  return phase == Phase::tensor_communication || phase == Phase::context_communication ||
         phase == Phase::expert_communication || phase == Phase::pipeline_communication ||
         phase == Phase::gradient_communication || phase == Phase::weight_communication;
}

/// What a rank does by itself; in the others it may wait for the slowest one.
bool is_computation(Phase phase) {
  return !is_communication(phase) && phase != Phase::clipping && phase != Phase::validation &&
         phase != Phase::checkpoint && phase != Phase::other;
}

}  // namespace

JobRecord::JobRecord(const MonitoredRun& run, const Progress& progress)
    : run_(run), progress_(progress) {}

void JobRecord::at_start() {
  start_s_ = process_age_s();
}

void JobRecord::after_step(const StepReport& report) {
  steps_s_ += report.seconds;
  loss_ = report.loss;
}

void JobRecord::after_validation(const ValidationReport& report) {
  validation_s_ += report.seconds;
  bits_per_byte_ = report.bits_per_byte;
}

void JobRecord::after_save(const SaveReport& report) {
  ++saves_;
  save_bytes_ += report.bytes;
  save_write_s_ += report.write_s;
}

void JobRecord::gather_phases(runs::JobReport& report) {
  const std::array<double, device::kNumPhases> mine =
      run_.rank_context.context.profiler().seconds();
  parallel::Communicator& world = run_.session.world();
  const auto mean_of = [](const std::vector<double>& values) {
    double sum = 0.0;
    for (const double value : values) sum += value;
    return sum / static_cast<double>(values.size());
  };
  double compute_s = 0.0;
  report.exposed_s = 0.0;
  for (std::size_t i = 0; i < device::kNumPhases; ++i) {
    const auto phase = static_cast<Phase>(i);
    if (is_computation(phase)) compute_s += mine[i];
    const std::vector<double> all = world.all_gather(mine[i]);
    const auto [low, high] = std::minmax_element(all.begin(), all.end());
    if (*high <= 0.0) continue;
    report.phases.push_back({.name = std::string(device::name_of(phase)),
                             .min_s = *low,
                             .mean_s = mean_of(all),
                             .max_s = *high,
                             .slowest_rank = high - all.begin(),
                             .is_communication = is_communication(phase)});
    if (is_communication(phase)) report.exposed_s += mean_of(all);
    if (phase == Phase::data) report.input_s = mean_of(all);
  }
  const std::vector<double> computed = world.all_gather(compute_s);
  report.slowest_rank = std::max_element(computed.begin(), computed.end()) - computed.begin();
  report.slowest_compute_s = computed[static_cast<std::size_t>(report.slowest_rank)];
  report.mean_compute_s = mean_of(computed);
  report.slowest_host = run_.session.host_names()[static_cast<std::size_t>(report.slowest_rank)];
  // On the host the main thread makes every collective; on a GPU nobody measures other streams.
  if (run_.rank_context.gpu == nullptr && !run_.parameters.parallel.overlap_tensor)
    report.hidden_s = 0.0;
}

runs::JobReport JobRecord::finish(const std::string& state, const std::string& reason,
                                  int exit_status, double stalled_s,
                                  const std::optional<runs::PlannedStep>& planned,
                                  const io::RunLock* lock) {
  const Rates rates = progress_.rates();
  const char* slurm_job = std::getenv("SLURM_JOB_ID");
  runs::JobReport report{.run = run_.parameters.run.name,
                         .state = state,
                         .grid = run_.rank_context.grid.describe(),
                         .slurm_job = slurm_job == nullptr ? "" : slurm_job,
                         .exit_status = exit_status,
                         .ranks = run_.session.size(),
                         .ended = runs::now_s(),
                         .first_step = run_.state.first_step,
                         .last_step = run_.state.step,
                         .steps = run_.parameters.training.steps,
                         .loss = loss_,
                         .bits_per_byte = bits_per_byte_,
                         .tokens_per_second = rates.tokens_per_second,
                         .step_s = rates.step_s,
                         .mfu = rates.mfu,
                         .mfu_full = rates.mfu_full,
                         .peak_flops = progress_.peak_flops(),
                         .saves = saves_,
                         .save_bytes = save_bytes_,
                         .save_write_s = save_write_s_,
                         .planned = planned};
  gather_phases(report);
  if (lock == nullptr) return report;
  report.host = run_.session.rank() == 0 ? io::LockHolder::this_process().host : "";
  report.time.wall_s = process_age_s();
  report.time.start_s = start_s_;
  report.time.steps_s = steps_s_;
  report.time.validation_s = validation_s_;
  report.time.checkpoint_s = stalled_s;
  report.started = report.ended - report.time.wall_s;
  record_end(report, reason);
  const std::filesystem::path& directory = lock->directory();
  const std::vector<io::Event> events = io::read_events(directory);
  const std::vector<runs::Job> jobs = runs::jobs_of(events, io::read_history(directory), {});
  if (!jobs.empty()) {
    report.job = jobs.back().number;
    report.time = jobs.back().time;
    report.run_time = runs::account_of(jobs);
    report.num_jobs = static_cast<std::int64_t>(jobs.size());
  }
  report.num_faults = std::count_if(events.begin(), events.end(), runs::is_fault);
  const std::filesystem::path folder = runs::job_folder(directory, report.job);
  io::create_folder(folder);
  const std::string text = to_json(report);
  io::replace_file(folder / runs::kReportName, text);
  io::replace_file(directory / runs::kReportName, text);
  return report;
}

void JobRecord::record_end(runs::JobReport& report, const std::string& reason) const {
  run_.record("end", {{"state", report.state},
                      {"reason", reason},
                      {"status", static_cast<double>(report.exit_status)},
                      {"steps", static_cast<double>(report.last_step - report.first_step)},
                      {"wall_s", report.time.wall_s},
                      {"start_s", report.time.start_s},
                      {"step_s", report.time.steps_s},
                      {"validation_s", report.time.validation_s},
                      {"checkpoint_s", report.time.checkpoint_s},
                      {"tokens_per_second", report.tokens_per_second}});
}

void keep_input(const std::filesystem::path& run_directory, std::int64_t job,
                const config::Parameters& parameters) {
  const std::filesystem::path folder = runs::job_folder(run_directory, job);
  io::create_folder(folder);
  io::replace_file(folder / "input.toml", config::to_toml(parameters));
}

}  // namespace espalier::train
