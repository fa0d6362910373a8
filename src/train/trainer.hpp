#pragma once
#include <cstdint>
#include <filesystem>
#include <fstream>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/held_warnings.hpp"
#include "config/parameters.hpp"
#include "device/context.hpp"
#include "io/event_log.hpp"
#include "io/run_log.hpp"
#include "parallel/comm/session.hpp"
#include "train/audit_monitor.hpp"
#include "train/checkpoint_monitor.hpp"
#include "train/dataset.hpp"
#include "train/distributed_model.hpp"
#include "train/fault_injector.hpp"
#include "train/job_record.hpp"
#include "train/monitor.hpp"
#include "train/progress.hpp"
#include "train/run_control.hpp"
#include "train/spike_guard.hpp"
#include "train/status_file.hpp"
#include "train/step/step.hpp"
#include "train/step_exchange.hpp"
#include "train/training_data.hpp"
#include "train/training_steps.hpp"
#include "train/validation_monitor.hpp"
#include "train/watchdog.hpp"
#include "train/whole_checkpoint.hpp"

namespace espalier::train {

/// One training run on one rank: owns everything a run needs and drives the step loop. Collective
/// over the session's world.
class Trainer {
 public:
  /// Takes the run directory, opens data and logs, lays out memory, makes initial weights or
  /// continues the newest checkpoint there that is whole. `parameters` are resolved; `build`
  /// describes the program.
  Trainer(parallel::MpiSession& session, const config::Parameters& parameters,
          const std::string& build);
  ~Trainer();

  /// The step loop. Returns when the run is finished or asked to stop; a checkpoint has been
  /// written as the input says (always when stopped early). What it throws is in the run directory
  /// then (record_failure).
  StopReason run();
  /// What a plan expects, to stand beside what is measured.
  void expect(runs::PlannedStep planned) { planned_ = std::move(planned); }

  std::int64_t step() const { return state_.step; }
  const device::Context& context() const { return rank_context_.context; }

 private:
  StopReason take_steps();
  void open_rank_log();
  void start_or_continue();
  /// The newest checkpoint up to `last_step` that is whole, of which the state is then; nothing:
  /// there is none. Damaged ones are passed over. `tells`: says what has changed since it was
  /// written. Collective.
  std::optional<std::filesystem::path> load_newest(std::int64_t last_step, bool tells);
  /// Returns what is damaged; empty: the state is that of the checkpoint.
  std::string load(const std::filesystem::path& folder, bool tells);
  void weights_from_master();
  /// After a spike: back to the last checkpoint, without the data since then. Collective.
  void roll_back();
  void record_passed_over();
  void limit_length();  ///< training.steps, when the data end the run
  void add_monitors(double attended_length);
  template <class Kind, class... Arguments>
  Kind& add_monitor(Arguments&&... arguments) {
    auto monitor = std::make_unique<Kind>(std::forward<Arguments>(arguments)...);
    Kind& added = *monitor;
    monitors_.push_back(std::move(monitor));
    return added;
  }
  MonitoredRun monitored();
  void tell_lost_steps() const;  ///< those that an earlier job made in vain
  void record_start();           ///< in events.jsonl and status.json
  /// Nothing: the run is to go back.
  std::optional<StepReport> train_step();
  StepHooks step_hooks(const StepFault& fault);
  bool has_enough_steps() const;  ///< of run.stop_after
  void forget_triggers();         ///< at the end of the job
  StopReason report_end(bool all_steps);
  io::CheckpointInfo checkpoint_info() const;

  parallel::MpiSession& session_;
  log::HeldWarnings held_warnings_;     ///< until the ranks' next exchange
  std::unique_ptr<Watchdog> watchdog_;  ///< of all that follows; null without run.hang_timeout
  /// Rank 0. Taken before anything in the run directory is read, given back after everything that
  /// writes there has ended.
  std::unique_ptr<io::RunLock> lock_;
  JobFiles job_files_;             ///< rank 0
  std::int64_t job_number_ = 0;    ///< in the run directory; the same on every rank
  config::Parameters parameters_;  ///< with training.steps as the data allow
  std::string build_;
  RunControl control_;
  RankContext rank_context_;
  double gemm_peak_;  ///< FLOP/s of all ranks; taken before the memory below, which leaves no room
  DistributedModel model_;
  std::string tokenizer_identity_;  ///< of data.tokenizer; empty: none is named
  TrainingData training_data_;
  std::optional<Dataset> validation_data_;
  RunState state_;
  TrainingSteps steps_;
  std::string allowed_changes_;         ///< of the function, from restart to restart
  std::optional<io::RunLog> log_;       ///< rank 0
  std::optional<io::EventLog> events_;  ///< rank 0
  std::string job_;                     ///< this one, as its checkpoints say; rank 0
  std::ofstream rank_log_;              ///< with output.rank_logs
  std::vector<std::unique_ptr<Monitor>> monitors_;
  // Those of them that the trainer asks, too:
  JobRecord* record_ = nullptr;
  Progress* progress_ = nullptr;
  CheckpointMonitor* checkpoints_ = nullptr;
  AuditMonitor* audit_ = nullptr;            ///< null without run.audit_interval
  ValidationMonitor* validation_ = nullptr;  ///< null without data.validation
  std::optional<RunTriggers> triggers_;      ///< rank 0
  Deadline deadline_;
  std::optional<StepExchange> exchange_;
  std::optional<SpikeGuard> guard_;
  std::optional<FaultInjector> faults_;
  std::int64_t num_spikes_ = 0;                 ///< of the checkpoint that is continued
  std::vector<DamagedCheckpoint> passed_over_;  ///< and not yet recorded
  std::optional<runs::PlannedStep> planned_;
  bool data_end_run_ = false;  ///< before the steps that were asked for
};

/// For --dry-run: opens and verifies everything a run would read (shards, tokenizer, the newest
/// checkpoint) and tries the output directory, without the memory of a run. Returns where the run
/// stands.
RunPosition check_files(const config::Parameters& parameters);

/// Identity of data.tokenizer, empty when none is named.
std::string tokenizer_identity(const config::Parameters& parameters);

}  // namespace espalier::train
