#include "kernels/moe/router.hpp"

#include "base/error.hpp"
#include "kernels/backends.hpp"

namespace espalier::kernels::ESPALIER_GPU {

void router_forward(const Queue&, const RouterForward&) {
  fail(ExitStatus::internal, "router_forward does not run on a GPU yet");
}
void router_backward(const Queue&, const RouterBackward&) {
  fail(ExitStatus::internal, "router_backward does not run on a GPU yet");
}
void balance_loss(const Queue&, const BalanceLoss&) {
  fail(ExitStatus::internal, "balance_loss does not run on a GPU yet");
}

}  // namespace espalier::kernels::ESPALIER_GPU
