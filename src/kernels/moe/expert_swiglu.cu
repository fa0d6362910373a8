#include "kernels/moe/expert_swiglu.hpp"

#include "base/error.hpp"
#include "kernels/backends.hpp"

namespace espalier::kernels::ESPALIER_GPU {

void expert_swiglu_backward(const Queue&, const ExpertSwigluBackward&) {
  fail(ExitStatus::internal, "expert_swiglu_backward does not run on a GPU yet");
}

}  // namespace espalier::kernels::ESPALIER_GPU
