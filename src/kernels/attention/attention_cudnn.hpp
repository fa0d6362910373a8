#pragma once
// Attention by cuDNN, through the graphs of its frontend headers. The library is loaded when it is
// first asked for; a program that was built without the headers has attention_cudnn_missing.cpp.
#include <array>
#include <string>
#include <string_view>

#include "device/queue.hpp"
#include "kernels/attention/attention.hpp"

namespace espalier::kernels {

/// Why there is no cuDNN, "a program that was built with ...", "libcudnn.so.9, which ...": what a
/// provider needs and does not have. Empty where it can be used. Loads it the first time.
const std::string& missing_for_cudnn();
/// Of the loaded library: 91900 is 9.19.0. 0 without one.
std::int64_t cudnn_version();

/// The providers. A shape's first call builds its plan, which takes seconds and must not happen
/// while a graph is captured; later calls put kernels into the queue's stream and nothing else. The
/// backward pass works in a.scratch, the forward pass in the queue's workspace. Errors are Error
/// (internal) with the call, the GPU, and cuDNN's words.
void attention_forward_cudnn(const device::Queue& queue, const AttentionForward& a);
void attention_backward_cudnn(const device::Queue& queue, const AttentionBackward& a);

/// What a plan is made for.
struct CudnnCall {
  AttentionShape shape;
  bool backward = false;
  bool deterministic = true;
  /// Elements from one row to the next of q, k, v, o, lse, d_o, d_q, d_k, d_v; the last four are
  /// of the backward pass.
  std::array<std::int64_t, 9> strides{};
};
CudnnCall call_of(const AttentionForward& a);
CudnnCall call_of(const AttentionBackward& a);

struct CudnnPlanFacts {
  std::string engine;  ///< as cuDNN names it, with its knobs
  std::int64_t workspace_bytes = 0;
};
/// Builds the plan for a device that need not be there: `properties` are cuDNN's own JSON of one
/// (CUDNN_ATTR_DEVICEPROP_JSON_REPRESENTATION). For tests.
CudnnPlanFacts cudnn_plan_for(const CudnnCall& call, std::string_view properties,
                              int compute_capability);

}  // namespace espalier::kernels
