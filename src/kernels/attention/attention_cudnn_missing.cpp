#include "base/error.hpp"
#include "kernels/attention/attention_cudnn.hpp"

namespace espalier::kernels {

const std::string& missing_for_cudnn() {
  static const std::string missing =
      "a program that was built with cudnn.h and the headers of cudnn-frontend";
  return missing;
}

std::int64_t cudnn_version() {
  return 0;
}
void attention_forward_cudnn(const device::Queue&, const AttentionForward&) {
  fail(ExitStatus::internal, "attention: cudnn needs {}", missing_for_cudnn());
}
void attention_backward_cudnn(const device::Queue&, const AttentionBackward&) {
  fail(ExitStatus::internal, "attention: cudnn needs {}", missing_for_cudnn());
}
CudnnPlanFacts cudnn_plan_for(const CudnnCall&, std::string_view, int) {
  fail(ExitStatus::internal, "attention: cudnn needs {}", missing_for_cudnn());
}

}  // namespace espalier::kernels
