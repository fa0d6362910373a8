#pragma once
// Attention by Hopper's warpgroups and tensor memory accelerator, one of the providers of
// kernels/attention.hpp's operators.
#include "kernels/attention.hpp"
#include "kernels/cost.hpp"

namespace espalier::kernels {

/// Whether the provider can do it: bf16, head_dim 64 or 128, on compute capability 9.0. The last is
/// the caller's to ask: on other devices its kernels do nothing.
bool wgmma_fits(const AttentionShape& shape, DType dtype);

namespace cuda {
Cost attention_forward_wgmma(const device::Queue& queue, const AttentionForward& a);
Cost attention_backward_wgmma(const device::Queue& queue, const AttentionBackward& a);
}  // namespace cuda
namespace emulated {
Cost attention_forward_wgmma(const device::Queue& queue, const AttentionForward& a);
Cost attention_backward_wgmma(const device::Queue& queue, const AttentionBackward& a);
}  // namespace emulated

}  // namespace espalier::kernels
