#include "train/step_exchange.hpp"

#include <array>
#include <vector>

#include "base/activity.hpp"
#include "base/held_warnings.hpp"

namespace espalier::train {
namespace {

/// The places of kNumStepSignals.
enum Signal : std::size_t {
  kStopSignal,
  kStopFile,
  kOutOfTime,
  kSaveSignal,
  kSaveFile,
  kPartDone,
  kSaveDue,
  kWarning,
};

}  // namespace

StepSums StepExchange::in_step(const StepSums& of_rank) {
  const double now_s = control_.elapsed_s();
  deadline_.look(now_s);
  return exchange(of_rank,
                  deadline_.needed_in_step_s(now_s, checkpoints_.is_save_due(run_.state.step + 1)));
}

void StepExchange::between_steps(double next_s) {
  exchange({}, deadline_.needed_between_steps_s(control_.elapsed_s(), next_s,
                                                checkpoints_.has_saved_state()));
  checkpoints_.save_if_asked();
}

void StepExchange::look_for_triggers() {
  if (triggers_ == nullptr) return;
  triggers_->look();
  if (!triggers_->is_asked(Trigger::status)) return;
  tell_status_();
  triggers_->honoured(Trigger::status);
}

StepSums StepExchange::exchange(const StepSums& of_rank, double needed_s) {
  look_for_triggers();
  const auto phase = run_.rank_context.context.profiler().scope(device::Phase::clipping);
  std::array<double, kNumStepSignals> mine{};
  mine[kStopSignal] = control_.signal_received() ? 1.0 : 0.0;
  mine[kOutOfTime] = control_.out_of_time(needed_s) ? 1.0 : 0.0;
  mine[kSaveSignal] = control_.save_signal_received() ? 1.0 : 0.0;
  mine[kPartDone] = checkpoints_.is_part_done() ? 1.0 : 0.0;
  mine[kSaveDue] = checkpoints_.is_time_over() ? 1.0 : 0.0;
  mine[kWarning] = log::HeldWarnings::any() ? 1.0 : 0.0;
  if (triggers_ != nullptr) {
    mine[kStopFile] = triggers_->is_asked(Trigger::stop) ? 1.0 : 0.0;
    // Until the checkpoint is complete the file stays; it is told once.
    mine[kSaveFile] = triggers_->is_asked(Trigger::save) && !checkpoints_.is_asked() ? 1.0 : 0.0;
  }
  std::vector<double> sums{loss_share(run_.rank_context.grid, of_rank.loss)};
  sums.insert(sums.end(), mine.begin(), mine.end());
  const auto num_scalars = static_cast<std::ptrdiff_t>(sums.size());
  sums.insert(sums.end(), of_rank.square_sums.begin(), of_rank.square_sums.end());
  const auto norms_end = static_cast<std::ptrdiff_t>(sums.size());
  of_rank.experts.append_to(sums);
  {
    const activity::Scope waiting("exchange between the ranks");
    run_.session.world().all_reduce_sum(sums);
  }
  const auto told = [&](Signal signal) { return sums[1 + signal] > 0.0; };
  stop_signal_ = told(kStopSignal);
  stop_file_ = told(kStopFile);
  out_of_time_ = told(kOutOfTime);
  if (told(kSaveSignal) || told(kSaveFile)) {
    if (told(kSaveSignal)) control_.heard_save();
    checkpoints_.ask(told(kSaveSignal) ? "SIGUSR1" : "file");
  }
  if (told(kWarning))
    log::print_warnings(run_.session.world().all_gather(log::HeldWarnings::take()));
  if (sums[1 + kPartDone] == static_cast<double>(run_.session.size())) checkpoints_.next_part();
  if (told(kSaveDue)) checkpoints_.save_after_step();
  return {.loss = sums[0],
          .square_sums = {sums.begin() + num_scalars, sums.begin() + norms_end},
          .experts = model::ExpertStatistics::from({sums.begin() + norms_end, sums.end()},
                                                   of_rank.experts)};
}

}  // namespace espalier::train
