#include "train/status_line.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <cmath>
#include <string_view>

#include "base/activity.hpp"
#include "base/text.hpp"

namespace espalier::train {

std::string status_line(const runs::RunStatus& status) {
  std::string text = fmt::format("status: {} of {} steps", status.step, status.steps);
  if (std::isfinite(status.loss))
    text += fmt::format(", loss {:.5f}, {} tok/s, ETA {}", status.loss,
                        with_commas(static_cast<std::int64_t>(status.tokens_per_second)),
                        human_duration(status.eta_s));
  if (status.checkpoint_step >= 0)
    text += fmt::format(", last checkpoint: step {}, {} ago", status.checkpoint_step,
                        human_duration(std::max(runs::now_s() - status.checkpoint_time, 0.0)));
  else
    text += ", no checkpoint yet";
  const std::string_view doing = activity::now().name;
  return fmt::format("{}; now {}{}", text, doing.starts_with("waiting") ? "" : "in ", doing);
}

}  // namespace espalier::train
