#pragma once
#include <string>
#include <vector>

#include "plan/time/layout_time.hpp"

// The measured rows of validation/published_throughput.

namespace espalier::testing {

struct PublishedRow {
  std::string program, model, device;
  config::Parameters parameters;  ///< [model] and [training]
  plan::StepLayout layout;
  bool flash_attention_2 = false;  ///< on Hopper: less than half of what cuDNN reaches there
  double measured = 0.0;           ///< tokens/s of a device
  /// Tokens of a step on one device over the seconds of the step.
  double predicted(plan::StepTime* time = nullptr) const;
};
/// Throws Error where a row is malformed.
std::vector<PublishedRow> published_rows();

}  // namespace espalier::testing
