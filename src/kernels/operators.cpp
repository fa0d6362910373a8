// On which backend an operator runs: the context says where.
#include "device/context.hpp"
#include "device/operation_clock.hpp"
#include "kernels/backends.hpp"
#include "kernels/operator_list.hpp"
#include "kernels/workspace.hpp"

namespace espalier::kernels {
namespace {

using device::Backend;
using device::Context;

// A program without CUDA has no context of that backend (Gpu::open refuses).
#ifdef ESPALIER_HAS_CUDA
#define ESPALIER_IN_CUDA(call) cuda::call
#else
#define ESPALIER_IN_CUDA(call) static_cast<void>(0)
#endif

#define ESPALIER_CHOOSE(context, function, ...)                      \
  device::OperationClock::begin();                                   \
  if (!(context).is_counting()) switch ((context).backend()) {       \
      case Backend::host:                                            \
        ESPALIER_AT_SIMD_LEVEL(host, function(context, __VA_ARGS__)) \
        break;                                                       \
      case Backend::cuda:                                            \
        ESPALIER_IN_CUDA(function((context).queue(), __VA_ARGS__));  \
        break;                                                       \
      case Backend::emulated:                                        \
        emulated::function((context).queue(), __VA_ARGS__);          \
        break;                                                       \
    }

/// What every call has cost is told here, and nowhere else.
void account(Context& context, const char* name, const Cost& cost) {
  device::OperationClock::end({name});
  context.profiler().add_cost({name}, cost.flops, cost.bytes);
}

}  // namespace

#define ESPALIER_DEFINE(function, Arguments)            \
  void function(Context& context, const Arguments& a) { \
    ESPALIER_CHOOSE(context, function, a)               \
    account(context, #function, cost_of(a));            \
  }
ESPALIER_OPERATORS(ESPALIER_DEFINE)
#undef ESPALIER_DEFINE

void cast(Context& context, device::View out, device::ConstView in) {
  ESPALIER_CHOOSE(context, cast, out, in)
  account(context, "cast", cost_of_cast(out, in));
}
void set_zero(Context& context, device::View out) {
  ESPALIER_CHOOSE(context, set_zero, out)
  account(context, "set_zero", cost_of_set_zero(out));
}
void sums_of_squares(Context& context, device::View out, std::span<const device::ConstView> in) {
  ESPALIER_CHOOSE(context, sums_of_squares, out, in)
  for (const device::ConstView& view : in)
    account(context, "sums_of_squares", cost_of_sum_of_squares(view));
}
void add_losses(Context& context, device::View sum, device::ConstView losses) {
  ESPALIER_CHOOSE(context, add_losses, sum, losses)
  account(context, "add_losses", cost_of_add_losses(losses));
}
void adamw(Context& context, std::span<const AdamW> rectangles) {
  ESPALIER_CHOOSE(context, adamw, rectangles)
  account(context, "adamw", cost_of_adamw(rectangles));
}

std::int64_t workspace_elements(Backend backend, std::int64_t width, std::int64_t num_tokens) {
  switch (backend) {
    case Backend::host:
      break;
    case Backend::cuda:
#ifdef ESPALIER_HAS_CUDA
      return cuda::workspace_elements(width, num_tokens);
#endif  // else the same source, for a plan that is made on another machine
    case Backend::emulated:
      return emulated::workspace_elements(width, num_tokens);
  }
  return 0;
}

}  // namespace espalier::kernels
