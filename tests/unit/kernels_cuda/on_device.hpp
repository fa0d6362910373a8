#pragma once
// The CUDA operators over matrices of the host: the namespace that the cases name (ESPALIER_GPU)
// where they run on a GPU. A call copies every matrix to memory of cudaMalloc, runs the operator on
// these copies, waits, and copies them back. Managed memory would do without, but not every GPU and
// driver has it in the same way, and training does not use it.
#include "kernels/backends.hpp"
#include "kernels/moe/grouped_shapes.hpp"

namespace espalier::kernels::on_device {

#define ESPALIER_DECLARE(function, Arguments) void function(const Queue& queue, const Arguments& a);
ESPALIER_OPERATORS(ESPALIER_DECLARE)
ESPALIER_DECLARE(attention_forward_wgmma, AttentionForward)
ESPALIER_DECLARE(attention_backward_wgmma, AttentionBackward)
ESPALIER_DECLARE(grouped_mma, GroupedProblem)
ESPALIER_DECLARE(grouped_wgmma, GroupedProblem)
#undef ESPALIER_DECLARE
void cast(const Queue& queue, device::View out, device::ConstView in);
void set_zero(const Queue& queue, device::View out);
void sums_of_squares(const Queue& queue, device::View out, std::span<const device::ConstView> in);
void add_losses(const Queue& queue, device::View sum, device::ConstView losses);
void adamw(const Queue& queue, std::span<const AdamW> rectangles);
std::int64_t workspace_elements(std::int64_t width, std::int64_t num_tokens);

}  // namespace espalier::kernels::on_device
