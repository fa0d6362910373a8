#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "config/parameters.hpp"
#include "io/event_log.hpp"
#include "parallel/comm/session.hpp"
#include "train/distributed_model.hpp"
#include "train/save_report.hpp"

namespace espalier::train {

/// How far a run has come; the same on every rank.
struct RunState {
  std::int64_t step = 0;             ///< steps done
  std::int64_t first_step = 0;       ///< steps done before this job
  std::int64_t continued_step = -1;  ///< of the checkpoint that this job continues; -1: none
  std::uint64_t samples_consumed = 0;
  std::int64_t num_left_out = 0;  ///< of the steps done: without an update (run.on_spike)
};

/// What monitors look at. All of it outlives them.
struct MonitoredRun {
  parallel::MpiSession& session;
  const config::Parameters& parameters;
  RankContext& rank_context;
  DistributedModel& model;
  const RunState& state;
  const io::EventLog* events;  ///< on rank 0, else null

  /// Adds to events.jsonl, on rank 0.
  void record(std::string kind,
              std::vector<std::pair<std::string, io::Event::Value>> details = {}) const {
    if (events != nullptr)
      events->append({.kind = std::move(kind), .step = state.step, .details = std::move(details)});
  }
};

/// What one step did, the same on every rank.
struct StepReport {
  std::int64_t step = 0;
  std::uint64_t tokens = 0;  ///< consumed since the start of training
  double loss = 0.0;
  double grad_norm = 0.0;
  double learning_rate = 0.0;
  double seconds = 0.0;
  std::optional<model::ExpertLoad> experts = {};  ///< of a model that has some
};

/// What a validation found, the same on every rank.
struct ValidationReport {
  std::int64_t step = 0;
  std::uint64_t tokens = 0;  ///< predicted tokens that count
  double loss = 0.0;         ///< nats per token
  double bits_per_byte = 0.0;
  double seconds = 0.0;
};

/// What accompanies the steps of a run: it logs, saves or evaluates, and changes nothing that is
/// trained. The trainer calls its monitors one after another, in the order of its list. Those
/// whose work is collective are in the list of every rank, in the same order.
class Monitor {
 public:
  Monitor() = default;
  virtual ~Monitor() = default;
  Monitor(const Monitor&) = delete;
  Monitor& operator=(const Monitor&) = delete;

  /// Before the first step of this job.
  virtual void at_start() {}
  /// In a step, when the gradients are reduced and finite and no weight has changed.
  virtual void before_update() {}
  virtual void after_step(const StepReport&) {}
  virtual void after_validation(const ValidationReport&) {}
  virtual void after_save(const SaveReport&) {}
  /// The run has gone back to the step of RunState: what lies behind that is forgotten.
  virtual void after_rollback() {}
  /// After the last step of this job. `all_steps`: it was the last one of the run.
  virtual void at_end(bool /*all_steps*/) {}
};

/// After every `interval`-th step; never with 0.
constexpr bool is_due(std::int64_t step, std::int64_t interval) {
  return interval > 0 && step % interval == 0;
}

}  // namespace espalier::train
