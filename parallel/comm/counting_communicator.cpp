#include "parallel/comm/counting_communicator.hpp"

#include "base/error.hpp"
#include "parallel/comm/mpi_communicator.hpp"
#include "parallel/comm/row_exchange.hpp"

namespace espalier::parallel {

using device::ConstView;
using device::View;

namespace {

struct Bytes {
  std::int64_t all = 0;
  std::int64_t own = 0;
};

Bytes bytes_of(std::span<const RowShards> tensors, int rank) {
  Bytes bytes;
  const auto r = static_cast<std::size_t>(rank);
  for (const RowShards& tensor : tensors) {
    const std::int64_t row =
        tensor.full.cols * static_cast<std::int64_t>(size_of(tensor.full.dtype));
    bytes.all += (tensor.begins.back() - tensor.begins.front()) * row;
    bytes.own += (tensor.begins[r + 1] - tensor.begins[r]) * row;
  }
  return bytes;
}

}  // namespace

void CountingCommunicator::add(std::string_view collective, std::int64_t bytes,
                               std::int64_t sent_bytes) {
  if (size_ == 1) return;
  CollectiveCost& cost = costs_[collective];
  ++cost.calls;
  cost.bytes += bytes;
  cost.sent_bytes += sent_bytes;
}

void CountingCommunicator::add_values(std::string_view collective, std::size_t count) {
  const auto bytes = static_cast<std::int64_t>(count * sizeof(double));
  add(collective, bytes, bytes * (size_ - 1));
}

void CountingCommunicator::all_reduce_sum(View data) {
  if (data.size() > 0)
    add("all_reduce", data.size_bytes(),
        MpiCommunicator::bytes_of_all_reduce(data.size_bytes(), rank_, size_));
  if (inner_) inner_->all_reduce_sum(data);
}

void CountingCommunicator::all_gather(View out, ConstView in) {
  add("all_gather", out.size_bytes(), in.size_bytes() * (size_ - 1));
  if (inner_) inner_->all_gather(out, in);
}

void CountingCommunicator::reduce_scatter_sum(View out, ConstView in) {
  add("reduce_scatter", in.size_bytes(), out.size_bytes() * (size_ - 1));
  if (inner_) inner_->reduce_scatter_sum(out, in);
}

void CountingCommunicator::reduce_scatter_shards(std::span<const RowShards> tensors) {
  const Bytes bytes = bytes_of(tensors, rank_);
  if (!tensors.empty()) add("reduce_scatter", bytes.all, bytes.all - bytes.own);
  if (inner_) inner_->reduce_scatter_shards(tensors);
}

void CountingCommunicator::all_gather_shards(std::span<const RowShards> tensors) {
  const Bytes bytes = bytes_of(tensors, rank_);
  if (!tensors.empty()) add("all_gather", bytes.all, bytes.own * (size_ - 1));
  if (inner_) inner_->all_gather_shards(tensors);
}

void CountingCommunicator::exchange_rows(View out, ConstView in,
                                         std::span<const std::int64_t> send_rows,
                                         std::span<const std::int64_t> receive_rows) {
  check_row_exchange(out, in, send_rows, receive_rows, rank_, size_);
  const std::int64_t row = in.cols * static_cast<std::int64_t>(size_of(in.dtype));
  const std::int64_t rows = sum_of_rows(send_rows);
  add("exchange_rows", rows * row, (rows - send_rows[static_cast<std::size_t>(rank_)]) * row);
  if (inner_) inner_->exchange_rows(out, in, send_rows, receive_rows);
}

void CountingCommunicator::all_gather_counts(std::span<std::int64_t> all,
                                             std::span<const std::int64_t> mine) {
  const auto bytes = static_cast<std::int64_t>(mine.size_bytes());
  add("all_gather of counts", bytes, bytes * (size_ - 1));
  if (inner_) return inner_->all_gather_counts(all, mine);
  for (std::size_t i = 0; i < all.size(); ++i) all[i] = mine[i % mine.size()];
}

void CountingCommunicator::all_reduce_sum(std::span<double> values) {
  add("all_reduce of values", static_cast<std::int64_t>(values.size_bytes()),
      MpiCommunicator::bytes_of_value_sum(values.size(), size_));
  if (inner_) inner_->all_reduce_sum(values);
}
void CountingCommunicator::all_reduce_max(std::span<double> values) {
  add_values("all_reduce of values", values.size());
  if (inner_) inner_->all_reduce_max(values);
}
void CountingCommunicator::all_reduce_min(std::span<double> values) {
  add_values("all_reduce of values", values.size());
  if (inner_) inner_->all_reduce_min(values);
}

std::vector<double> CountingCommunicator::all_gather(double value) {
  add_values("all_gather of values", 1);
  return inner_ ? inner_->all_gather(value)
                : std::vector<double>(static_cast<std::size_t>(size_), value);
}

std::string CountingCommunicator::broadcast(std::string text, int root) {
  const auto bytes = static_cast<std::int64_t>(text.size());
  add("broadcast", bytes, rank_ == root ? bytes * (size_ - 1) : 0);
  return inner_ ? inner_->broadcast(std::move(text), root) : text;
}

void CountingCommunicator::broadcast(View data, int root) {
  add("broadcast", data.size_bytes(), rank_ == root ? data.size_bytes() * (size_ - 1) : 0);
  if (inner_) inner_->broadcast(data, root);
}

void CountingCommunicator::barrier() {
  add("barrier", 0, 0);
  if (inner_) inner_->barrier();
}

std::vector<std::string> CountingCommunicator::all_gather(const std::string& text) {
  const auto bytes = static_cast<std::int64_t>(text.size());
  add("all_gather of texts", bytes * size_, bytes * (size_ - 1));
  return inner_ ? inner_->all_gather(text)
                : std::vector<std::string>(static_cast<std::size_t>(size_), text);
}

std::int64_t CountingCommunicator::bytes_sent() const {
  if (inner_) return inner_->bytes_sent();
  std::int64_t bytes = 0;
  for (const auto& [collective, cost] : costs_) bytes += cost.sent_bytes;
  return bytes;
}

GridCommunicators counting_communicators(const ProcessGrid& grid,
                                         std::span<const Span> gradient_spans,
                                         bool overlap_tensor) {
  const auto make = [&](Span span) {
    return std::make_unique<CountingCommunicator>(grid.index_in(span), grid.size_of(span));
  };
  GridCommunicators result;
  result.tensor = make(Span::tensor);
  if (overlap_tensor && grid.shape().tensor > 1) result.tensor_overlap = make(Span::tensor);
  if (grid.shape().context > 1) result.context = make(Span::context);
  for (const Span span : distinct_groups(grid, gradient_spans)) result.gradients[span] = make(span);
  if (grid.size_of(Span::expert) > 1) result.expert = make(Span::expert);
  if (needs_tied(gradient_spans) && grid.size_of(Span::tied) > 1) result.tied = make(Span::tied);
  result.world = make(Span::world);
  return result;
}

GridCommunicators counted(GridCommunicators communicators) {
  const auto count = [](std::unique_ptr<Communicator>& group) {
    if (group != nullptr) group = std::make_unique<CountingCommunicator>(std::move(group));
  };
  count(communicators.tensor);
  count(communicators.tensor_overlap);
  count(communicators.context);
  for (auto& [span, group] : communicators.gradients) count(group);
  count(communicators.expert);
  count(communicators.tied);
  count(communicators.world);
  return communicators;
}

std::map<std::string, CollectiveCosts> costs_of(const GridCommunicators& communicators) {
  std::map<std::string, CollectiveCosts> costs;
  const auto add = [&](const char* group, const std::unique_ptr<Communicator>& communicator) {
    if (communicator == nullptr) return;
    const auto* counting = dynamic_cast<const CountingCommunicator*>(communicator.get());
    ESPALIER_ASSERT(counting != nullptr, "the communicator \"{}\" is not counted", group);
    if (!counting->costs().empty()) costs.emplace(group, counting->costs());
  };
  add("tensor", communicators.tensor);
  add("tensor (overlap)", communicators.tensor_overlap);
  add("context", communicators.context);
  for (const auto& [span, group] : communicators.gradients) add(gradient_group_name(span), group);
  add("expert", communicators.expert);
  add("tied", communicators.tied);
  add("world", communicators.world);
  return costs;
}

}  // namespace espalier::parallel
