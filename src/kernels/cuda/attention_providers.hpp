#pragma once
// The providers of attention that are built from this folder's sources.
#include <string>

#include "kernels/attention/attention.hpp"
#include "kernels/cuda/launch_shape.hpp"

namespace espalier::kernels::ESPALIER_GPU {

void attention_forward_reference(const Queue& queue, const AttentionForward& a);
void attention_backward_reference(const Queue& queue, const AttentionBackward& a);
void attention_forward_mma(const Queue& queue, const AttentionForward& a);
/// a.scratch (B * A_loc, S) f32 = rowsum(dO * O); bf16, head_dim 64 or 128. What the backward
/// passes of mma and wgmma begin with.
void attention_delta(const Queue& queue, const AttentionBackward& a);
void attention_backward_mma(const Queue& queue, const AttentionBackward& a);
/// By Hopper's warpgroups and tensor memory accelerator; compiled for another target the kernels
/// are empty, and the driver refuses to launch them.
std::string missing_in_warpgroup_code();  ///< see attention_provider.hpp
void attention_forward_wgmma(const Queue& queue, const AttentionForward& a);
void attention_backward_wgmma(const Queue& queue, const AttentionBackward& a);
/// The same in five products, head_dim 128: what attention_backward_wgmma does with scratch of
/// ordered_scratch(shape) (attention_shapes.hpp).
void attention_backward_ordered(const Queue& queue, const AttentionBackward& a);

}  // namespace espalier::kernels::ESPALIER_GPU
