#pragma once
// The siblings of every operator: one contract (kernels/<op>.hpp), three places where it runs.
//
//   host      <op>_host.cpp, with the context's threads
//   cuda      <op>.cu by nvcc, put into a queue; views are in the GPU's memory
//   emulated  the same .cu as ordinary C++ (kernels/emulation/README.md)
//
// A CUDA launcher does not wait, and returns what its kernels must do at least. Its results do not
// depend on the device: sums are cut by the shapes alone and added in a fixed order, without
// atomics. Where a contract has a gradient summed over rows, the queue's workspace holds the
// partial sums (workspace_elements below).
#include <span>

#include "device/queue.hpp"
#include "kernels/cost.hpp"
#include "kernels/operator_list.hpp"

namespace espalier::kernels {

using device::Queue;

namespace host {
#define ESPALIER_DECLARE(function, Arguments) \
  void function(device::Context& context, const Arguments& a);
ESPALIER_OPERATORS(ESPALIER_DECLARE)
ESPALIER_HOST_OPERATORS(ESPALIER_DECLARE)
#undef ESPALIER_DECLARE
void cast(device::Context& context, device::View out, device::ConstView in);
void add(device::Context& context, device::View out, device::ConstView in);
void set_zero(device::Context& context, device::View out);
void sum_of_squares(device::Context& context, device::View out, device::ConstView in);
void add_losses(device::Context& context, device::View sum, device::ConstView losses);
void adamw(device::Context& context, std::span<const AdamW> rectangles);
}  // namespace host

#define ESPALIER_DECLARE(function, Arguments) Cost function(const Queue& queue, const Arguments& a);
#define ESPALIER_GPU_SIBLINGS                                                            \
  ESPALIER_OPERATORS(ESPALIER_DECLARE)                                                   \
  Cost cast(const Queue& queue, device::View out, device::ConstView in);                 \
  Cost add(const Queue& queue, device::View out, device::ConstView in);                  \
  Cost set_zero(const Queue& queue, device::View out);                                   \
  Cost sum_of_squares(const Queue& queue, device::View out, device::ConstView in);       \
  Cost add_losses(const Queue& queue, device::View sum, device::ConstView losses);       \
  /* All rectangles in as few launches as their arguments allow. */                      \
  Cost adamw(const Queue& queue, std::span<const AdamW> rectangles);                     \
  /* Floats of workspace that any operator needs for rows of at most `width` columns: */ \
  /* H for norms, 2D for qk_norm_rope_backward, the widest bias. */                      \
  std::int64_t workspace_elements(std::int64_t width);

namespace cuda {
ESPALIER_GPU_SIBLINGS
}
namespace emulated {
ESPALIER_GPU_SIBLINGS
}
#undef ESPALIER_GPU_SIBLINGS
#undef ESPALIER_DECLARE

}  // namespace espalier::kernels
