#include "parallel/boundary.hpp"

#include <algorithm>

#include "base/integers.hpp"

namespace espalier::parallel {

using device::ConstView;
using device::Phase;
using device::View;
using CommunicationStream = device::Context::CommunicationStream;

TensorBoundary::TensorBoundary(Communicator& tensor, bool sequence_parallel, Communicator* beside)
    : tensor_(tensor), beside_(beside), sequence_parallel_(sequence_parallel) {
  owned_begins_.resize(static_cast<std::size_t>(tensor_.size()) + 1);
}

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

// Parts -------------------------------------------------------------------------------------------

Rows TensorBoundary::rows_of_rank(std::int64_t tokens, int owner) const {
  const std::int64_t first = tokens * owner / tensor_.size();
  return {first, tokens * (owner + 1) / tensor_.size() - first};
}

ConstView TensorBoundary::enter_forward_early(device::Context& context, ConstView x, View scratch) {
  if (!overlaps() || !splits_tokens()) return enter_forward(context, x, scratch);
  begin_gather(context, x, scratch);
  const auto scope = context.profiler().scope(Phase::tensor_communication);
  beside_->all_gather(scratch, rows_of_rank(scratch.rows, tensor_.rank()).of(scratch));
  return scratch;
}

void TensorBoundary::wait(device::Context& context) {
  if (!overlaps()) return;
  const auto scope = context.profiler().scope(Phase::tensor_communication);
  context.join_communication(CommunicationStream::tensor);
}

void TensorBoundary::begin_gather(device::Context& context, ConstView x, View scratch) {
  const auto scope = context.profiler().scope(Phase::tensor_communication);
  context.copy(rows_of_rank(scratch.rows, tensor_.rank()).of(scratch), x);
  context.fork_communication(CommunicationStream::tensor);
}

void TensorBoundary::gather_rows(device::Context& context, View full, Rows rows) {
  const auto scope = context.profiler().scope(Phase::tensor_communication);
  beside_->all_gather_shards({&owned(full, rows), 1});
  context.mark_communication(CommunicationStream::tensor);
}

void TensorBoundary::await_rows(device::Context& context) {
  const auto scope = context.profiler().scope(Phase::tensor_communication);
  context.wait_communication(CommunicationStream::tensor);
}

void TensorBoundary::begin_sum(device::Context& context, View partial, Rows rows) {
  const auto scope = context.profiler().scope(Phase::tensor_communication);
  context.fork_communication(CommunicationStream::tensor);
  if (splits_tokens())
    beside_->reduce_scatter_shards({&owned(partial, rows), 1});
  else
    beside_->all_reduce_sum(rows.of(partial));
}

void TensorBoundary::begin_enter_backward(device::Context& context, View dx, Rows rows) {
  if (overlaps()) begin_sum(context, dx, rows);
}

View TensorBoundary::finish_enter_backward(device::Context& context, View dx, View local) {
  if (!overlaps()) return enter_backward(context, dx, local);
  wait(context);
  return splits_tokens() ? rows_of_rank(dx.rows, tensor_.rank()).of(dx) : dx;
}

const RowShards& TensorBoundary::owned(const View& all, Rows rows) {
  owned_ = {rows.of(all), owned_begins_};
  for (int r = 0; r <= tensor_.size(); ++r)
    owned_begins_[static_cast<std::size_t>(r)] =
        std::clamp(rows_of_rank(all.rows, r).first - rows.first, std::int64_t{0}, rows.count);
  return owned_;
}

}  // namespace espalier::parallel
