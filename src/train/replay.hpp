#pragma once
#include <cstdint>
#include <filesystem>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "config/parameters.hpp"
#include "parallel/comm/session.hpp"
#include "train/checkpoint_monitor.hpp"
#include "train/deadline.hpp"
#include "train/distributed_model.hpp"
#include "train/monitor.hpp"
#include "train/replay_plan.hpp"
#include "train/run_control.hpp"
#include "train/spike_guard.hpp"
#include "train/step_exchange.hpp"
#include "train/training_data.hpp"
#include "train/training_steps.hpp"
#include "train/watchdog.hpp"

namespace espalier::train {

/// What a replay has found: on rank 0; `stopped` and the states on every rank.
struct ReplayFindings {
  std::int64_t steps = 0;             ///< replayed
  std::int64_t num_different = 0;     ///< of them: another digit in some column
  std::string first_difference = {};  ///< "step 23: loss is 4.25 in history.csv, 4.5 replayed"
  /// Of loss and gradient norm, over all steps, and in which.
  double largest_relative = 0.0;
  std::int64_t largest_step = 0;
  std::vector<std::int64_t> equal_states;  ///< steps whose checkpoint has the same bits
  /// A sentence per checkpoint that has not.
  std::vector<std::string> other_states = {};
  std::optional<StopReason> stopped = {};  ///< before all steps were replayed
};

/// Steps of a run computed again from one of its checkpoints, and compared with what the run has
/// recorded: history.csv, and checkpoints of later steps. It takes no lock and writes nothing; what
/// a training does beside its steps has no part here. Collective over the session's world.
class Replay {
 public:
  /// Reads the checkpoint of verify.from in the run directory (output.directory); `parameters` are
  /// of plan_replay, resolved. Throws Error (bad_data, met by every rank) also when the run, which
  /// may go on, removes that checkpoint meanwhile.
  Replay(parallel::MpiSession& session, const config::Parameters& parameters);

  /// verify.steps of them, with a line of the log for each.
  ReplayFindings run();
  /// The grid, as runs record it.
  std::string grid() const { return rank_context_.grid.describe(); }

 private:
  void load(const std::filesystem::path& folder);
  /// A rollback of the run left out data behind this step: so does the replay.
  void follow_rollback();
  /// On rank 0: a recorded step beside the one that was replayed.
  void compare_step(const StepReport& report);
  void compare_state(const std::filesystem::path& folder);
  StepHooks hooks();

  parallel::MpiSession& session_;
  std::unique_ptr<Watchdog> watchdog_;  ///< null without run.hang_timeout
  config::Parameters parameters_;
  RunControl control_;
  RankContext rank_context_;
  DistributedModel model_;
  TrainingData data_;
  RunState state_;
  TrainingSteps steps_;
  Deadline deadline_;
  CheckpointMonitor checkpoints_;  ///< never started: it saves nothing
  StepExchange exchange_;
  std::optional<SpikeGuard> guard_;
  std::vector<io::HistoryWords> recorded_;  ///< of the steps to come; rank 0
  ReplayFindings findings_;
};

}  // namespace espalier::train
