#include "plan/estimate/estimate.hpp"

#include "base/error.hpp"

namespace espalier::plan {

Estimate estimate(const config::Parameters&, const config::HardwareParameters&) {
  fail(ExitStatus::internal, "not here yet");
}
std::vector<Layout> layouts(const config::Parameters&, const config::HardwareParameters&,
                            std::int64_t) {
  fail(ExitStatus::internal, "not here yet");
}
Layout best_layout(const config::Parameters&, const config::HardwareParameters&, std::int64_t) {
  fail(ExitStatus::internal, "not here yet");
}
double expected_loss(const config::Parameters&) {
  fail(ExitStatus::internal, "not here yet");
}

}  // namespace espalier::plan
