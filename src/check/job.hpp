#pragma once
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "check/finding.hpp"
#include "config/parameters.hpp"
#include "io/checkpoint.hpp"
#include "parallel/comm/session.hpp"
#include "plan/time/step_time.hpp"
#include "train/distributed_model.hpp"
#include "train/training_data.hpp"
#include "train/whole_checkpoint.hpp"

namespace espalier::check {

/// A job that is tried, and what the checks so far have found out for those to come.
struct Job {
  parallel::MpiSession& session;
  config::Parameters parameters;   ///< resolved, when is_resolved
  std::string simd_shortfall;      ///< commands::why_not_better
  std::vector<std::string> hosts;  ///< of every rank
  bool is_resolved = false;        ///< the input makes sense and its grid has as many ranks
  std::optional<plan::StepTime> planned_step = {};      ///< rank 0, with plan.device
  std::optional<train::RankContext> rank_context = {};  ///< where the devices were opened
  std::optional<std::string> tokenizer_identity = {};   ///< once it is known
  std::string data_identity = {}, data_tokenizer = {};  ///< rank 0, once the data are open
  std::optional<config::Parameters> limited = {};       ///< with steps as the data allow
  // Of the newest checkpoint that opens, on rank 0; known from check_data on.
  std::optional<io::CheckpointReader> reader = {};
  std::filesystem::path continued = {};
  train::RunPosition position = {};
  std::vector<train::DamagedCheckpoint> damaged = {};  ///< newer ones
  std::optional<Error> unreadable = {};                ///< why it is not known
};

// One function a group, each with a finding for each thing that it tries, on rank 0 (those of other
// ranks are not printed). All ranks call it alike. An Error that every rank meets may leave it;
// what a single rank meets is told through on_every_rank, so that no other waits for it.

std::vector<Finding> check_input(Job& job);
std::vector<Finding> check_mpi(Job& job);
std::vector<Finding> check_processor(Job& job);
std::vector<Finding> check_gpus(Job& job);
std::vector<Finding> check_output(Job& job);
std::vector<Finding> check_memory(Job& job);
std::vector<Finding> check_collectives(Job& job);
std::vector<Finding> check_data(Job& job);
std::vector<Finding> check_checkpoint(Job& job);
std::vector<Finding> check_time(Job& job);

/// Whether this rank tries for its host what rank 0 has tried: the first rank of each other host,
/// and the last of all.
bool looks_from_elsewhere(const std::vector<std::string>& hosts, int rank);

/// Looks for the checkpoint that the job would go on from. Rank 0; never throws Error.
void find_checkpoint(Job& job);

/// What one rank said: a text, or the message of an error.
struct Answer {
  std::string text;
  ExitStatus status = ExitStatus::ok;  ///< of the error
  bool is_error() const { return status != ExitStatus::ok; }
};
/// `action` on every rank, its errors caught. All answers, in rank order, on every rank.
/// Collective.
std::vector<Answer> on_every_rank(parallel::MpiSession& session,
                                  const std::function<std::string()>& action);

/// A line for each different error among the answers, with the ranks and the host of the first:
/// "ranks 4-7 (node2): ...". Empty: there is none.
struct Errors {
  std::string text;
  ExitStatus status = ExitStatus::ok;  ///< of the first
};
Errors errors_of(const std::vector<Answer>& answers, const std::vector<std::string>& hosts);

/// All checks, in the order in which a job meets these things; all are tried, whatever fails.
/// Returns early when it is asked to stop (SIGTERM, SIGINT), with what is known so far, and
/// `stopped` set on every rank. The findings of rank 0 count. Collective.
std::vector<Finding> check_all(Job& job, bool& stopped);

}  // namespace espalier::check
