#include "train/spike_guard.hpp"

#include "base/error.hpp"
#include "base/log.hpp"
#include "io/run_tables.hpp"
#include "parallel/comm/on_rank_0.hpp"

namespace espalier::train {

SpikeGuard::SpikeGuard(const MonitoredRun& run, CheckpointMonitor& checkpoints,
                       std::int64_t num_spikes)
    : run_(run),
      checkpoints_(checkpoints),
      rule_(run.parameters.run.spike_threshold, run.parameters.run.spike_window),
      num_spikes_(num_spikes) {}

void SpikeGuard::read_history() {
  const config::RunParameters& p = run_.parameters.run;
  if (p.spike_threshold <= 0.0) return;
  // The whole history: which steps are in the window depends on which before them stood out.
  rule_.decode(parallel::on_rank_0(run_.session, [&] {
    SpikeRule rule(p.spike_threshold, p.spike_window);
    for (const io::HistoryRow& row : io::read_history(run_.parameters.output.directory))
      if (row.step <= run_.state.step) rule.add(row.loss, row.grad_norm);
    return rule.encode();
  }));
}

bool SpikeGuard::judge(const StepFindings& findings) {
  wants_rollback_ = false;
  const std::optional<Spike> spike = rule_.find(findings.loss, findings.grad_norm);
  if (!spike) {
    rule_.add(findings.loss, findings.grad_norm);
    return true;
  }
  const config::RunParameters& p = run_.parameters.run;
  const bool gives_up = p.on_spike == "stop" || num_spikes_ >= p.max_spikes;
  run_.record("spike", {{"what", std::string(spike->what)},
                        {"value", spike->value},
                        {"mean", spike->mean},
                        {"deviation", spike->deviation},
                        {"action", gives_up ? std::string("stop") : p.on_spike}});
  if (gives_up) give_up(findings, *spike);
  ++num_spikes_;
  is_clean_ = false;
  wants_rollback_ = p.on_spike == "rollback";
  if (log::rank() == 0)
    log::warn("step {}: {}; {} (run.on_spike, {} of run.max_spikes = {})", findings.step,
              findings.not_finite.empty() ? spike->describe() : findings.not_finite,
              wants_rollback_ ? "the run goes back to its last checkpoint and leaves out the data "
                                "since then"
                              : "its update is left out",
              num_spikes_, p.max_spikes);
  return false;
}

void SpikeGuard::give_up(const StepFindings& findings, const Spike& spike) {
  const config::RunParameters& p = run_.parameters.run;
  checkpoints_.finish();  // a save of an earlier step is worth keeping
  const std::string remedy = fmt::format(
      "{}Continue from the last checkpoint with a lower optimizer.learning_rate, with other data, "
      "or with {}",
      p.on_spike == "stop"
          ? ""
          : fmt::format("run.max_spikes = {} such steps were left out before. ", p.max_spikes),
      p.on_spike == "stop" ? "run.on_spike = \"skip\" or \"rollback\"" : "a higher run.max_spikes");
  if (!findings.not_finite.empty()) fail_not_finite(findings, remedy);
  throw Error(ExitStatus::bad_numbers,
              fmt::format("step {}: {}; no weight was changed. {}", findings.step, spike.describe(),
                          remedy),
              Met::by_every_rank);
}

void SpikeGuard::before_save() {
  if (is_clean_) num_spikes_ = 0;
  is_clean_ = true;
}

}  // namespace espalier::train
