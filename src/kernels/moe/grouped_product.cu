#include "kernels/moe/grouped_product.hpp"

#include "base/error.hpp"
#include "kernels/backends.hpp"

namespace espalier::kernels::ESPALIER_GPU {

void grouped_forward(const Queue&, const GroupedForward&) {
  fail(ExitStatus::internal, "grouped_forward does not run on a GPU yet");
}
void grouped_backward_input(const Queue&, const GroupedBackwardInput&) {
  fail(ExitStatus::internal, "grouped_backward_input does not run on a GPU yet");
}
void grouped_backward_weight(const Queue&, const GroupedBackwardWeight&) {
  fail(ExitStatus::internal, "grouped_backward_weight does not run on a GPU yet");
}

}  // namespace espalier::kernels::ESPALIER_GPU
