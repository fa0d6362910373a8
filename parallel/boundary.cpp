#include "parallel/boundary.hpp"

#include "base/integers.hpp"

namespace espalier::parallel {

using device::ConstView;
using device::Phase;
using device::View;

TensorBoundary::TensorBoundary(Communicator& tensor, bool sequence_parallel)
    : tensor_(tensor), sequence_parallel_(sequence_parallel) {}

bool TensorBoundary::splits_tokens() const {
  return sequence_parallel_ && tensor_.size() > 1;
}

std::int64_t TensorBoundary::local_tokens(std::int64_t tokens) const {
  return splits_tokens() ? div_exact(tokens, tensor_.size()) : tokens;
}

ConstView TensorBoundary::enter_forward(device::Context& context, ConstView x, View scratch) const {
  if (!splits_tokens()) return x;
  const auto scope = context.profiler().scope(Phase::tensor_communication);
  tensor_.all_gather(scratch, x);
  return scratch;
}

View TensorBoundary::enter_backward(device::Context& context, View dx, View local) const {
  if (tensor_.size() == 1) return dx;
  const auto scope = context.profiler().scope(Phase::tensor_communication);
  if (!splits_tokens()) {
    tensor_.all_reduce_sum(dx);
    return dx;
  }
  tensor_.reduce_scatter_sum(local, dx);
  return local;
}

// The second boundary is the transpose of the first: its forward is the other's backward.
View TensorBoundary::leave_forward(device::Context& context, View y, View local) const {
  return enter_backward(context, y, local);
}

ConstView TensorBoundary::leave_backward(device::Context& context, ConstView dy,
                                         View scratch) const {
  return enter_forward(context, dy, scratch);
}

}  // namespace espalier::parallel
