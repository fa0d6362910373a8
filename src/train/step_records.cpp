#include "train/step_records.hpp"

#include <string>

#include "base/activity.hpp"
#include "base/log.hpp"

namespace espalier::train {

void EpochMonitor::after_step(const StepReport& report) {
  const auto step_samples = static_cast<std::uint64_t>(run_.parameters.training.global_batch_size);
  const std::uint64_t samples = run_.state.samples_consumed;
  const std::string begun = data_.epochs_begun(samples - step_samples, samples);
  if (!begun.empty()) log::info("step {}: {} begins", report.step, begun);
}

void HistoryMonitor::after_step(const StepReport& report) {
  const activity::Scope writing("writing history.csv");
  std::optional<io::ExpertColumns> experts;
  if (report.experts)
    experts = {.balance_loss = report.experts->balance_loss,
               .z_loss = report.experts->z_loss,
               .load = report.experts->busiest().largest,
               .not_chosen = report.experts->num_dead,
               .further_rounds = report.experts->further_rounds};
  log_.step({.step = report.step,
             .tokens = report.tokens,
             .loss = report.loss,
             .grad_norm = report.grad_norm,
             .learning_rate = report.learning_rate,
             .tokens_per_second = progress_.tokens_per_second(report),
             .experts = experts});
}

}  // namespace espalier::train
