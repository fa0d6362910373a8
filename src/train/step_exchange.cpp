#include "train/step_exchange.hpp"

#include <array>

namespace espalier::train {

StepSums StepExchange::exchange(const StepSums& of_rank, double next_s) {
  const auto phase = rank_context_.context.profiler().scope(device::Phase::clipping);
  const auto told = [](bool flag) { return flag ? 1.0 : 0.0; };
  std::array<double, 5> sums{loss_share(rank_context_.grid, of_rank.loss), of_rank.square_sum,
                             told(control_.signal_received()), told(control_.out_of_time(next_s)),
                             told(checkpoints_.is_written())};
  session_.world().all_reduce_sum(sums);
  const auto [loss, square_sum, stop_signals, out_of_time, written] = sums;
  stop_signal_ = stop_signals > 0.0;
  out_of_time_ = out_of_time > 0.0;
  if (written == static_cast<double>(session_.size())) checkpoints_.commit();
  return {.loss = loss, .square_sum = square_sum};
}

}  // namespace espalier::train
