#include "train/tensorboard_monitor.hpp"

#include <fmt/core.h>

#include <cmath>
#include <string>
#include <vector>

#include "runs/run_status.hpp"

namespace espalier::train {

void TensorboardMonitor::after_step(const StepReport& report) {
  lock_.require_held();
  const Rates rates = progress_.rates_of(report.seconds);
  std::vector<io::TensorboardScalar> scalars = {
      {"train/loss", static_cast<float>(report.loss)},
      {"train/grad_norm", static_cast<float>(report.grad_norm)},
      {"train/learning_rate", static_cast<float>(report.learning_rate)},
      {"train/tokens_per_second", static_cast<float>(rates.tokens_per_second)}};
  if (std::isfinite(rates.mfu)) scalars.push_back({"train/mfu", static_cast<float>(rates.mfu)});
  if (report.experts) {
    const model::ExpertLoad& load = *report.experts;
    const auto add = [&](std::string name, double value) {
      scalars.push_back({"experts/" + std::move(name), static_cast<float>(value)});
    };
    add("balance_loss", load.balance_loss);
    add("z_loss", load.z_loss);
    add("load", load.busiest().largest);
    add("not_chosen", static_cast<double>(load.num_dead));
    add("further_rounds", static_cast<double>(load.further_rounds));
    for (const model::ExpertLoad::OfBlock& block : load.blocks)
      add(fmt::format("load_of_blocks/{:03}", block.layer), block.largest);
  }
  file_.add(report.step, runs::now_s(), scalars);
}

void TensorboardMonitor::after_validation(const ValidationReport& report) {
  lock_.require_held();
  file_.add(report.step, runs::now_s(),
            {{"validation/loss", static_cast<float>(report.loss)},
             {"validation/bits_per_byte", static_cast<float>(report.bits_per_byte)}});
}

void TensorboardMonitor::after_rollback() {
  lock_.require_held();
  file_.start_from(run_.state.step + 1);
}

}  // namespace espalier::train
