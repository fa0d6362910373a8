#pragma once
// Every operator on every backend: one contract (kernels/<op>.hpp), three places where it runs.
//
//   host      <op>_host.cpp, with the context's threads; once per SIMD level, host::avx2 and so on
//   cuda      <op>.cu by nvcc, put into a queue; views are in the GPU's memory
//   emulated  the same .cu as ordinary C++ (emulation/README.md)
//
// A CUDA launcher does not wait. Its results do not depend on the device: sums are cut by the
// shapes alone and added in a fixed order, without atomics. Where a contract has a gradient summed
// over rows, the queue's workspace holds the partial sums (kernels/workspace.hpp).
#include <span>

#include "base/simd/level.hpp"
#include "device/queue.hpp"
#include "kernels/operator_list.hpp"

namespace espalier::kernels {

using device::Queue;

#define ESPALIER_DECLARE(function, Arguments) \
  void function(device::Context& context, const Arguments& a);
#define ESPALIER_HOST_OPERATORS(level, ...)                                              \
  namespace level {                                                                      \
  ESPALIER_OPERATORS(ESPALIER_DECLARE)                                                   \
  void cast(device::Context& context, device::View out, device::ConstView in);           \
  void set_zero(device::Context& context, device::View out);                             \
  void sums_of_squares(device::Context& context, device::View out,                       \
                       std::span<const device::ConstView> in);                           \
  void add_losses(device::Context& context, device::View sum, device::ConstView losses); \
  void adamw(device::Context& context, std::span<const AdamW> rectangles);               \
  }
namespace host {
ESPALIER_SIMD_LEVELS(ESPALIER_HOST_OPERATORS)
}
#undef ESPALIER_HOST_OPERATORS
#undef ESPALIER_DECLARE

#define ESPALIER_DECLARE(function, Arguments) void function(const Queue& queue, const Arguments& a);
#define ESPALIER_GPU_OPERATORS                                                     \
  ESPALIER_OPERATORS(ESPALIER_DECLARE)                                             \
  void cast(const Queue& queue, device::View out, device::ConstView in);           \
  void set_zero(const Queue& queue, device::View out);                             \
  void sums_of_squares(const Queue& queue, device::View out,                       \
                       std::span<const device::ConstView> in);                     \
  void add_losses(const Queue& queue, device::View sum, device::ConstView losses); \
  /* All rectangles in as few launches as their arguments allow. */                \
  void adamw(const Queue& queue, std::span<const AdamW> rectangles);               \
  /* As kernels::workspace_elements. */                                            \
  std::int64_t workspace_elements(std::int64_t width, std::int64_t num_tokens);

namespace cuda {
ESPALIER_GPU_OPERATORS
}
namespace emulated {
ESPALIER_GPU_OPERATORS
}
#undef ESPALIER_GPU_OPERATORS
#undef ESPALIER_DECLARE

}  // namespace espalier::kernels
