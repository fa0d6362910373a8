#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "config/parameters.hpp"
#include "device/context.hpp"
#include "io/run_log.hpp"
#include "parallel/comm/session.hpp"
#include "train/checkpointing.hpp"
#include "train/dataset.hpp"
#include "train/distributed_model.hpp"
#include "train/evaluator.hpp"
#include "train/progress.hpp"
#include "train/run_control.hpp"
#include "train/step.hpp"
#include "train/training_data.hpp"

namespace espalier::train {

/// One training run on one rank: owns everything a run needs and drives the step loop. Collective
/// over the session's world.
class Trainer {
 public:
  /// Takes the run directory, opens data and logs, lays out memory, makes initial weights or
  /// continues the newest complete checkpoint there. `parameters` are resolved; `build` describes
  /// the program.
  Trainer(parallel::MpiSession& session, const config::Parameters& parameters,
          const std::string& build);
  ~Trainer();

  /// The step loop. Returns when the run is finished or asked to stop; a checkpoint has been
  /// written as the input says (always when stopped early).
  StopReason run();

  std::int64_t step() const { return step_; }
  const device::Context& context() const { return rank_context_.context; }

 private:
  void start_or_continue();
  void continue_from(const std::filesystem::path& folder);
  void limit_length();  ///< training.steps, when the data end the run
  StepReport train_step();
  StepModel step_model();
  StepHooks step_hooks();
  /// The sums of all ranks, and what else they agree on; a written save is made complete. `next_s`:
  /// how long what comes next may take.
  StepSums exchange(const StepSums& of_rank, double next_s);
  void record(const StepReport& report);
  void announce_epochs();
  void validate();
  void leave_validation(const Evaluation& result);  ///< one that was broken off
  void save();
  bool is_due(std::int64_t interval) const;
  /// Asked to stop now: only the checkpoint matters.
  bool is_urgent() const { return stop_signal_ || out_of_time_; }
  bool has_enough_steps() const;  ///< of run.stop_after
  /// Forward and backward of a micro-batch or two whose gradients are not used: every matrix
  /// product is met, timed and agreed upon before the first step, which then has the bits of every
  /// other run on this grid.
  void warm_up();
  io::CheckpointInfo checkpoint_info() const;

  parallel::MpiSession& session_;
  /// Rank 0. Taken before anything in the run directory is read, given back after everything that
  /// writes there has ended.
  std::unique_ptr<io::RunLock> lock_;
  config::Parameters parameters_;  ///< with training.steps as the data allow
  std::string build_;
  RunControl control_;
  RankContext rank_context_;
  double gemm_peak_;  ///< FLOP/s of all ranks; taken before the memory below, which leaves no room
  DistributedModel model_;
  std::string tokenizer_identity_;  ///< of data.tokenizer; empty: none is named
  TrainingData training_data_;
  std::optional<Dataset> validation_data_;
  data::BatchShape batch_shape_;
  data::MicroBatch batch_;
  std::vector<double> exchanged_;  ///< of exchange_step_scalars; kept for its memory
  std::int64_t step_ = 0;          ///< steps done
  std::int64_t first_step_ = 0;    ///< steps done before this job
  std::uint64_t samples_consumed_ = 0;
  std::string allowed_changes_;    ///< of the function, from restart to restart
  std::optional<io::RunLog> log_;  ///< rank 0
  std::unique_ptr<CheckpointDriver> checkpoints_;
  std::unique_ptr<Progress> progress_;
  double slowest_step_s_ = 0.0;
  double validation_round_s_ = 0.0;  ///< of the last validation
  bool validation_left_ = false;     ///< due at this step, and not to the end
  bool data_end_run_ = false;        ///< before the steps that were asked for
  bool stop_signal_ = false;         ///< agreed by all ranks
  bool out_of_time_ = false;         ///< agreed by all ranks
  std::int64_t validated_step_ = -1;
  std::int64_t saved_step_ = -1;
};

/// For --dry-run: opens and verifies everything a run would read (shards, tokenizer, the newest
/// checkpoint) and tries the output directory, without the memory of a run.
void check_files(const config::Parameters& parameters);

/// A sentence for each tokenizer, shard or folder of shards that the input names and that is not
/// there: `data.train = "shards" is not there`.
std::vector<std::string> missing_inputs(const config::Parameters& parameters);

/// Identity of data.tokenizer, empty when none is named.
std::string tokenizer_identity(const config::Parameters& parameters);

}  // namespace espalier::train
