#include "plan/time/step_time.hpp"

#include "base/error.hpp"

namespace espalier::plan {

double StepTime::step() const {
  return products + attention + memory_bound + tensor_exposed + data_exposed + bubble + other;
}

StepTime predict_step(const config::Parameters&, const config::HardwareParameters&) {
  fail(ExitStatus::internal, "not here yet");
}
config::HardwareParameters read_hardware(const std::string&) {
  fail(ExitStatus::internal, "not here yet");
}
std::vector<config::HardwareParameters> hardware_of(const config::Parameters&) {
  fail(ExitStatus::internal, "not here yet");
}

}  // namespace espalier::plan
