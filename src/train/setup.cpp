#include <fmt/chrono.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <optional>

#include "base/activity.hpp"
#include "base/error.hpp"
#include "base/log.hpp"
#include "base/process_age.hpp"
#include "base/text.hpp"
#include "io/checkpoint_files.hpp"
#include "kernels/moe/grouped_provider.hpp"
#include "parallel/comm/on_rank_0.hpp"
#include "tokenizer/tokenizer.hpp"
#include "train/device_choice.hpp"
#include "train/gradient_dump.hpp"
#include "train/initial_weights.hpp"
#include "train/restart.hpp"
#include "train/run_files.hpp"
#include "train/status_line.hpp"
#include "train/status_monitor.hpp"
#include "train/step_records.hpp"
#include "train/stopped_early.hpp"
#include "train/tensorboard_monitor.hpp"
#include "train/trainer.hpp"

// How a trainer comes to life: data, memory, weights or a checkpoint, logs.

namespace espalier::train {

using device::Phase;

std::string tokenizer_identity(const config::Parameters& parameters) {
  if (parameters.data.tokenizer.empty()) return {};
  return tokenizer::Tokenizer::from_file(parameters.data.tokenizer).identity();
}

namespace {

Dataset open_dataset(const config::Parameters& p, const std::string& where,
                     const std::string& split, const std::string& tokenizer_identity, bool verify,
                     parallel::MpiSession* session = nullptr) {
  if (where.empty())
    throw Error(
        ExitStatus::bad_configuration,
        fmt::format("data.{} is not set: name the token shards (espalier tokenize makes them)",
                    split),
        Met::by_every_rank);
  return Dataset(where, split, p.model.vocab_size, p.training.sequence_length, tokenizer_identity,
                 verify && p.data.verify_checksum, {}, session);
}

/// FLOP/s of all ranks, each with its GPU or its share of the host.
double measure_peak(parallel::MpiSession& session, RankContext& rank_context,
                    const config::Parameters& p) {
  leave_if_stopped(session, "opening the devices");
  activity::enter("measuring the device");
  std::array<double, 1> peak{measure_gemm_peak(session, rank_context, p, 0.3)};
  session.world().all_reduce_sum(peak);
  return peak[0];
}

/// The newest checkpoint whose files are all there, as far as that shows without reading tensors.
std::optional<std::filesystem::path> newest_that_opens(
    const std::filesystem::path& directory, std::optional<io::CheckpointReader>& reader) {
  std::vector<DamagedCheckpoint> damaged;
  const auto complete = io::list_complete(directory);
  for (auto folder = complete.rbegin(); folder != complete.rend(); ++folder) {
    try {
      reader.emplace(folder->path);
    } catch (const Error& error) {
      if (error.status() != ExitStatus::bad_data) throw;
      damaged.push_back({folder->path, error.what()});
      continue;
    }
    for (const DamagedCheckpoint& one : damaged)
      log::warn("{} is damaged and would be passed over. {}", one.path.string(), one.why);
    return folder->path;
  }
  if (!damaged.empty()) fail_all_damaged(damaged);
  return std::nullopt;
}

}  // namespace

RunPosition check_files(const config::Parameters& p) {
  require_inputs(p);
  // A copy, with training.steps as the data allow.
  config::Parameters limited = p;
  const std::string identity = tokenizer_identity(p);
  std::string data_identity, data_tokenizer;
  std::optional<io::CheckpointReader> reader;
  const auto folder = newest_that_opens(checkpoint_directory(p), reader);
  RunPosition position;
  if (reader) position = {reader->info().step, reader->info().samples_consumed};
  if (p.data.train.empty() && p.data.sources.empty()) {
    log::info("data.train is not set, nor data.sources: no shards were checked");
  } else {
    const TrainingData data(p, identity, p.data.verify_checksum);
    agree_on_begin(limited.data, data, true);
    limit_steps_to_data(limited, data, position);
    data_identity = data.identity();
    data_tokenizer = data.tokenizer_identity();
    log::info("{}", data.describe(samples_of_run(limited, position)));
  }
  if (!p.data.validation.empty())
    log::info("{}", open_dataset(p, p.data.validation, "validation", identity, true).describe());
  if (!p.run.time_limit.empty()) parse_duration_s(p.run.time_limit);
  if (reader) {
    const config::Parameters earlier = require_continuable(
        *reader, *folder, p, model::tensor_table(model::Architecture::from(p.model)),
        data_tokenizer);
    tell_changes_of_course(reader->info(), *folder, earlier, limited, data_identity);
    log::info("would continue {} (step {})", folder->string(), reader->info().step);
  } else if (!p.model.initial_weights.empty()) {
    const InitialWeights initial(p, model::tensor_table(model::Architecture::from(p.model)));
    initial.warn_of_tokenizer(identity);
    log::info("would start from {}", initial.describe());
  }
  require_writable(p.output.directory);
  return position;
}

Trainer::Trainer(parallel::MpiSession& session, const config::Parameters& parameters,
                 const std::string& build)
    : session_(session),
      watchdog_(parameters.run.hang_timeout > 0.0
                    ? std::make_unique<Watchdog>(session, parameters.run.hang_timeout)
                    : nullptr),
      lock_(lock_run_directory(session, parameters)),
      job_files_(begin_job(lock_.get(), parameters, session.size())),
      parameters_(parameters),
      build_(with_simd_level(build)),
      control_(parameters.run),
      rank_context_(session, parameters),
      gemm_peak_(measure_peak(session, rank_context_, parameters)),
      model_(session, parameters, rank_context_),
      tokenizer_identity_(
          parallel::on_rank_0(session, [&] { return train::tokenizer_identity(parameters); })),
      training_data_(parameters, tokenizer_identity_,
                     session.rank() == 0 && parameters.data.verify_checksum, &session),
      steps_(session, parameters_, rank_context_, model_, training_data_, state_) {
  activity::enter("opening data");
  log_devices(session, rank_context_, parameters_.device);
  if (rank_context_.gpu != nullptr) {
    log::info("{}", model_.memory.activations->describe_attention(model_.memory.dtype));
    const model::Architecture& a = model_.memory.architecture;
    if (a.num_sparse_layers() > 0)
      log::info("products of experts: {}",
                kernels::describe_grouped_choice(
                    model_.memory.dtype, a.hidden_size, a.expert_intermediate,
                    rank_context_.gpu->description().compute_capability));
  }
  if (!parameters.data.validation.empty())
    validation_data_.emplace(open_dataset(parameters, parameters.data.validation, "validation",
                                          tokenizer_identity_, session.rank() == 0, &session));
  parameters_.data.begin_of_document = parallel::on_rank_0(session, [&] {
    agree_on_begin(parameters_.data, training_data_, true);
    return parameters_.data.begin_of_document;
  });
  start_or_continue();
  const RunPosition position{state_.step, state_.samples_consumed};
  state_.first_step = state_.step;
  log::info("{}", training_data_.describe(samples_of_run(parameters_, position)));
  if (validation_data_) log::info("{}", validation_data_->describe());
  log::info("time limit: {}; checkpoints: {}", control_.describe_limit(),
            describe_interval(parameters.checkpoint));
  activity::enter("opening history.csv, validation.csv and run.log");
  if (session.rank() == 0) {
    log_.emplace(*lock_, state_.step, model_.memory.architecture.num_sparse_layers() > 0);
    events_.emplace(lock_->directory(), job_files_.job);
    keep_input(lock_->directory(), job_files_.job, parameters_);
    log::set_sink([this](std::string_view text) {
      const activity::Scope writing("writing run.log");
      log_->line(text);
    });
  }
  const std::string job = events_ ? std::to_string(events_->job()) : std::string();
  job_number_ = std::stoll(session.world().broadcast(job, 0));
  tell_lost_steps();
  if (watchdog_) watchdog_->tell_in(parameters.output.directory, job_number_);
  if (parameters.output.rank_logs) open_rank_log();
  activity::enter("starting");
  const double attended = data::attended_length(
      training_data_.sources(), parameters_.training.sequence_length, steps_.documents());
  if (steps_.documents().mask)
    log::info("document mask: attention reaches as in whole sequences of {:.0f}; MFU counts that",
              attended);
  add_monitors(attended);
  guard_.emplace(monitored(), *checkpoints_, num_spikes_);
  guard_->read_history();
  faults_.emplace(monitored());
  record_start();
  record_passed_over();
  rank_context_.context.profiler().reset();
}

void Trainer::tell_lost_steps() const {
  if (!log_ || log_->lost().steps == 0) return;
  if (state_.continued_step >= 0)
    log::info("the {} steps after it, which an earlier job took, are repeated", log_->lost().steps);
  else
    log::warn(
        "an earlier job took {} steps and left no checkpoint: they are repeated from the "
        "first (checkpoint.interval, checkpoint.interval_minutes)",
        log_->lost().steps);
}

void Trainer::record_start() {
  const char* slurm_job = std::getenv("SLURM_JOB_ID");
  const std::vector<std::string> hosts = session_.host_names();
  if (!log_) return;
  job_ =
      fmt::format("job {}{} on {}", events_->job(),
                  slurm_job == nullptr ? "" : fmt::format(", Slurm {}", slurm_job), hosts.front());
  job_files_.status->change([&](runs::RunStatus& status) {
    status.step = state_.step;
    status.steps = parameters_.training.steps;
    status.grid = rank_context_.grid.describe();
  });
  const auto counted = [](std::int64_t count) { return static_cast<double>(count); };
  monitored().record("start",
                     {{"ranks", counted(session_.size())},
                      {"grid", rank_context_.grid.describe()},
                      {"host", hosts.front()},
                      {"continued_step", counted(state_.continued_step)},
                      {"slurm_job", std::string(slurm_job == nullptr ? "" : slurm_job)},
                      {"device", std::string(device::name_of(rank_context_.context.backend()))},
                      {"wall_s", process_age_s()},
                      {"lost_steps", counted(log_->lost().steps)},
                      {"lost_s", log_->lost().seconds},
                      {"previous_sign_s", job_files_.previous_sign_s},
                      {"flops_per_token", progress_->flops_per_token()},
                      {"full_flops_per_token", progress_->full_flops_per_token()},
                      {"peak_flops", progress_->peak_flops()}});
}

void Trainer::open_rank_log() {
  const std::filesystem::path folder = std::filesystem::path(parameters_.output.directory) / "logs";
  parallel::on_rank_0(session_, [&] {
    std::error_code error;
    std::filesystem::create_directories(folder, error);
    require(!error, ExitStatus::io_error, "output.rank_logs: cannot create {}: {}", folder.string(),
            error.message());
    return std::string();
  });
  const auto path = folder / fmt::format("rank-{:05}.log", session_.rank());
  rank_log_.open(path, std::ios::app);
  require(rank_log_.good(), ExitStatus::io_error, "output.rank_logs: cannot open {}",
          path.string());
  log::set_rank_sink([this](std::string_view text) {
    const std::time_t now = std::time(nullptr);
    rank_log_ << fmt::format("{:%Y-%m-%d %H:%M:%S} ", fmt::localtime(now)) << text << std::endl;
  });
  // Each file says at once whose it is.
  rank_log_ << fmt::format("rank {} of {} on {}", session_.rank(), session_.size(),
                           session_.host_names()[static_cast<std::size_t>(session_.rank())])
            << std::endl;
}

Trainer::~Trainer() {
  if (rank_log_.is_open()) log::set_rank_sink({});
  if (log_) log::set_sink({});
}

// In the order in which they are called.
void Trainer::add_monitors(double attended_length) {
  const MonitoredRun run = monitored();
  if (parameters_.debug.dump_gradients) add_monitor<GradientDumpMonitor>(run);
  add_monitor<EpochMonitor>(run, training_data_);
  progress_ =
      &add_monitor<Progress>(parameters_, model_.memory.architecture, attended_length, gemm_peak_);
  record_ = &add_monitor<JobRecord>(run, *progress_);
  if (log_) {
    add_monitor<HistoryMonitor>(*log_, *progress_);
    add_monitor<StatusMonitor>(run, *job_files_.status, *progress_);
    if (parameters_.output.tensorboard)
      add_monitor<TensorboardMonitor>(run, *lock_, job_files_.job, *progress_);
  }
  // Saving before validating: it goes on in the background while the validation runs, which changes
  // no weight, and is complete as soon as it is written.
  RunTriggers* triggers = lock_ ? &triggers_.emplace(lock_->directory()) : nullptr;
  checkpoints_ = &add_monitor<CheckpointMonitor>(
      run, lock_.get(), control_, deadline_, triggers,
      [this] {
        guard_->before_save();
        if (audit_ != nullptr) audit_->before_save();
        return checkpoint_info();
      },
      [this](const SaveReport& report) {
        for (const auto& monitor : monitors_) monitor->after_save(report);
      });
  if (parameters_.run.audit_interval > 0) audit_ = &add_monitor<AuditMonitor>(run, *checkpoints_);
  exchange_.emplace(run, control_, *checkpoints_, deadline_, triggers,
                    [this] { log::info("{}", status_line(job_files_.status->now())); });
  // After this the run directory exists for every rank.
  const std::int64_t validated_step = std::stoll(
      session_.world().broadcast(std::to_string(log_ ? log_->last_validation() : -1), 0));
  if (validation_data_)
    validation_ = &add_monitor<ValidationMonitor>(
        run, *validation_data_, steps_.documents(), *exchange_, *checkpoints_, deadline_,
        log_ ? &*log_ : nullptr, validated_step, [this](const ValidationReport& report) {
          for (const auto& monitor : monitors_) monitor->after_validation(report);
        });
}

MonitoredRun Trainer::monitored() {
  return {session_, parameters_, rank_context_, model_, state_, events_ ? &*events_ : nullptr};
}

}  // namespace espalier::train
