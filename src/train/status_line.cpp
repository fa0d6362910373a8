#include "train/status_line.hpp"

#include <string>

#include "base/activity.hpp"
#include "base/log.hpp"
#include "base/text.hpp"

namespace espalier::train {

void StatusLine::tell() const {
  const std::int64_t steps = run_.parameters.training.steps;
  std::string text = fmt::format("status: {} of {} steps", run_.state.step, steps);
  if (last_.step > 0) {
    const auto rate = static_cast<std::int64_t>(progress_.tokens_per_second(last_));
    text +=
        fmt::format(", loss {:.5f}, {} tok/s, ETA {}", last_.loss, with_commas(rate),
                    human_duration(static_cast<double>(steps - run_.state.step) * last_.seconds));
  }
  if (checkpoints_.complete_step() > 0)
    text += fmt::format(", last checkpoint: step {}, {} ago", checkpoints_.complete_step(),
                        human_duration(checkpoints_.complete_age_s()));
  else if (run_.state.continued_step >= 0)
    text += fmt::format(", last checkpoint: step {}, of the job before", run_.state.continued_step);
  else
    text += ", no checkpoint yet";
  log::info("{}; now in {}", text, activity::now().name);
}

}  // namespace espalier::train
