#include "train/step_exchange.hpp"

#include <iterator>
#include <vector>

namespace espalier::train {

StepSums StepExchange::exchange(const StepSums& of_rank, double next_s) {
  const auto phase = run_.rank_context.context.profiler().scope(device::Phase::clipping);
  const auto told = [](bool flag) { return flag ? 1.0 : 0.0; };
  std::vector<double> sums{loss_share(run_.rank_context.grid, of_rank.loss),
                           told(control_.signal_received()), told(control_.out_of_time(next_s)),
                           told(checkpoints_.is_part_done()), told(checkpoints_.is_time_over())};
  constexpr std::ptrdiff_t num_scalars = 1 + kNumStepSignals;
  sums.insert(sums.end(), of_rank.square_sums.begin(), of_rank.square_sums.end());
  run_.session.world().all_reduce_sum(sums);
  const double loss = sums[0], stop_signals = sums[1], out_of_time = sums[2], done = sums[3],
               save_is_due = sums[4];
  stop_signal_ = stop_signals > 0.0;
  out_of_time_ = out_of_time > 0.0;
  if (done == static_cast<double>(run_.session.size())) checkpoints_.next_part();
  if (save_is_due > 0.0) checkpoints_.save_after_step();
  return {.loss = loss, .square_sums = {sums.begin() + num_scalars, sums.end()}};
}

}  // namespace espalier::train
