#include "train/audit_monitor.hpp"

#include <chrono>
#include <set>
#include <utility>
#include <vector>

#include "base/activity.hpp"
#include "base/error.hpp"
#include "base/held_warnings.hpp"
#include "base/log.hpp"

namespace espalier::train {
namespace {

/// Tensors that a message names; a broken host may have all of them wrong.
constexpr std::size_t kNamed = 6;

std::string describe(const optim::AuditFinding& finding) {
  const std::string ranks = log::describe_ranks({finding.ranks.begin(), finding.ranks.end()});
  return fmt::format("{} of {}: {}{}", finding.part, finding.tensor,
                     finding.is_decided ? "wrong on " : "different on ", ranks);
}

}  // namespace

AuditMonitor::AuditMonitor(const MonitoredRun& run, CheckpointMonitor& checkpoints)
    : run_(run),
      checkpoints_(checkpoints),
      audit_(run.rank_context.context, run.rank_context.grid, run.model.communicators,
             *run.model.memory.parameter_store, *run.model.memory.optimizer,
             static_cast<int>(run.parameters.parallel.zero_stage)) {}

void AuditMonitor::before_update() {
  // A due step that was left out (run.on_spike) has no update: its audit comes with the next.
  const std::int64_t step = run_.state.step + 1;
  const std::int64_t interval = run_.parameters.run.audit_interval;
  if (step / interval == audited_step_ / interval) return;
  audited_step_ = step;
  audit(fmt::format("audit in step {}, before its update", step));
}

void AuditMonitor::before_save() {
  audit(fmt::format("audit before the checkpoint of step {}", run_.state.step));
}

void AuditMonitor::audit(const std::string& when) {
  const auto phase = run_.rank_context.context.profiler().scope(device::Phase::other);
  const activity::Scope auditing("audit of the weights");
  const auto begin = std::chrono::steady_clock::now();
  const std::vector<optim::AuditFinding> findings = audit_.run();
  if (!findings.empty()) fail_differing(findings, when);
  if (std::exchange(has_told_cost_, true)) return;
  log::info("{}: all weights are equal where they should be; that took {:.3f} s", when,
            std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count());
}

void AuditMonitor::fail_differing(const std::vector<optim::AuditFinding>& findings,
                                  const std::string& when) {
  checkpoints_.finish();  // of a state that was audited
  const std::vector<std::string> hosts = run_.session.host_names();
  std::string list;
  std::set<int> ranks;
  bool is_decided = true;
  for (std::size_t i = 0; i < findings.size(); ++i) {
    ranks.insert(findings[i].ranks.begin(), findings[i].ranks.end());
    is_decided = is_decided && findings[i].is_decided;
    if (i < kNamed) list += "\n  " + describe(findings[i]);
  }
  if (findings.size() > kNamed)
    list += fmt::format("\n  and {} more tensors", findings.size() - kNamed);
  std::set<std::string> suspects;
  for (const int rank : ranks) suspects.insert(hosts[static_cast<std::size_t>(rank)]);
  std::string names;
  for (const std::string& host : suspects) names += (names.empty() ? "" : ", ") + host;
  const std::string which = log::describe_ranks({ranks.begin(), ranks.end()});
  run_.record("audit", {{"tensor", findings.front().tensor},
                        {"part", findings.front().part},
                        {"num_tensors", static_cast<double>(findings.size())},
                        {"ranks", which},
                        {"hosts", names}});
  throw Error(
      ExitStatus::bad_numbers,
      fmt::format(
          "{}: weights that must be equal in every bit are not:{}\n{} ({}) {}. Bits have flipped "
          "in "
          "memory or on the way between the ranks: look for errors of memory and GPU on {} before "
          "the next job runs there. Checkpoints are written only after an audit that finds nothing "
          "(run.audit_interval = {}): start the same command again, it goes on from the last one",
          when, list, which, names,
          is_decided ? "held wrong bits" : "differ, and nothing says which of them is right", names,
          run_.parameters.run.audit_interval),
      Met::by_every_rank);
}

}  // namespace espalier::train
