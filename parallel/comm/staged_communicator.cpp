#include "parallel/comm/staged_communicator.hpp"

#include "base/integers.hpp"
#include "parallel/comm/row_exchange.hpp"

namespace espalier::parallel {
namespace {

using device::ConstView;
using device::View;

constexpr std::int64_t kAlignment = 64;

std::int64_t padded_bytes(const ConstView& view) {
  return round_up(view.size_bytes(), kAlignment);
}

device::Gpu::Rectangle rectangle(const View& to, const ConstView& from) {
  const auto size = static_cast<std::int64_t>(size_of(to.dtype));
  if (to.is_contiguous() && from.is_contiguous())
    return {1, to.size_bytes(), to.size_bytes(), to.size_bytes()};
  return {to.rows, to.cols * size, to.stride * size, from.stride * size};
}

}  // namespace

StagedCommunicator::StagedCommunicator(std::unique_ptr<Communicator> host,
                                       std::shared_ptr<device::Gpu> gpu, device::Stream stream)
    : host_(std::move(host)), gpu_(std::move(gpu)), stream_(stream) {}

StagedCommunicator::~StagedCommunicator() {
  gpu_->release_pinned(pinned_);
}

std::byte* StagedCommunicator::staging(std::int64_t bytes) {
  if (bytes > pinned_bytes_) {
    gpu_->release_pinned(pinned_);
    pinned_ = nullptr;
    pinned_ = gpu_->allocate_pinned(bytes);
    pinned_bytes_ = bytes;
  }
  return static_cast<std::byte*>(pinned_);
}

View StagedCommunicator::placed(const ConstView& view, std::byte* at) {
  return {at, view.dtype, view.rows, view.cols, view.cols};
}

void StagedCommunicator::fetch(const View& host, const ConstView& from) {
  if (from.size() > 0) gpu_->copy_to_host(host.data, from.data, rectangle(host, from), stream_);
}

void StagedCommunicator::store(const View& to, const ConstView& host) {
  if (to.size() > 0) gpu_->copy_to_device(to.data, host.data, rectangle(to, host), stream_);
}

void StagedCommunicator::all_reduce_sum(View data) {
  if (size() == 1) return;
  const View host = placed(data, staging(padded_bytes(data)));
  fetch(host, data);
  wait();
  host_->all_reduce_sum(host);
  store(data, host);
  wait();
}

void StagedCommunicator::all_gather(View out, ConstView in) {
  if (size() == 1 && out.data == in.data) return;
  const View host = placed(out, staging(padded_bytes(out)));
  const View mine = host.row_range(rank() * in.rows, in.rows);
  fetch(mine, in);
  wait();
  host_->all_gather(host, mine);
  store(out, host);
  wait();
}

void StagedCommunicator::reduce_scatter_sum(View out, ConstView in) {
  if (size() == 1 && out.data == in.data) return;
  const View host = placed(in, staging(padded_bytes(in)));
  fetch(host, in);
  wait();
  const View mine = host.row_range(rank() * out.rows, out.rows);
  host_->reduce_scatter_sum(mine, host);
  store(out, mine);
  wait();
}

void StagedCommunicator::broadcast(View data, int root) {
  if (size() == 1) return;
  const View host = placed(data, staging(padded_bytes(data)));
  if (rank() == root) fetch(host, data);
  wait();
  host_->broadcast(host, root);
  if (rank() != root) store(data, host);
  wait();
}

void StagedCommunicator::exchange_rows(View out, ConstView in,
                                       std::span<const std::int64_t> send_rows,
                                       std::span<const std::int64_t> receive_rows) {
  check_row_exchange(out, in, send_rows, receive_rows, rank(), size());
  const ConstView sent = in.row_range(0, sum_of_rows(send_rows));
  const View received = out.row_range(0, sum_of_rows(receive_rows));
  std::byte* at = staging(padded_bytes(sent) + padded_bytes(received));
  const View host_in = placed(sent, at);
  const View host_out = placed(received, at + padded_bytes(sent));
  fetch(host_in, sent);
  wait();
  host_->exchange_rows(host_out, host_in, send_rows, receive_rows);
  store(received, host_out);
  wait();
}

std::vector<RowShards> StagedCommunicator::stage(std::span<const RowShards> tensors) {
  std::int64_t bytes = 0;
  for (const RowShards& tensor : tensors) bytes += padded_bytes(tensor.full);
  std::byte* at = staging(bytes);
  std::vector<RowShards> staged;
  for (const RowShards& tensor : tensors) {
    staged.push_back({placed(tensor.full, at), tensor.begins});
    at += padded_bytes(tensor.full);
  }
  return staged;
}

void StagedCommunicator::reduce_scatter_shards(std::span<const RowShards> tensors) {
  if (size() == 1 || tensors.empty()) return;
  const std::vector<RowShards> staged = stage(tensors);
  for (std::size_t i = 0; i < tensors.size(); ++i) fetch(staged[i].full, tensors[i].full);
  wait();
  host_->reduce_scatter_shards(staged);
  const auto mine = static_cast<std::size_t>(rank());
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const std::int64_t begin = tensors[i].begins[mine];
    const std::int64_t count = tensors[i].begins[mine + 1] - begin;
    store(tensors[i].full.row_range(begin, count), staged[i].full.row_range(begin, count));
  }
  wait();
}

void StagedCommunicator::all_gather_shards(std::span<const RowShards> tensors) {
  if (size() == 1 || tensors.empty()) return;
  const std::vector<RowShards> staged = stage(tensors);
  const auto mine = static_cast<std::size_t>(rank());
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    const std::int64_t begin = tensors[i].begins[mine];
    const std::int64_t count = tensors[i].begins[mine + 1] - begin;
    fetch(staged[i].full.row_range(begin, count), tensors[i].full.row_range(begin, count));
  }
  wait();
  host_->all_gather_shards(staged);
  for (std::size_t i = 0; i < tensors.size(); ++i) store(tensors[i].full, staged[i].full);
  wait();
}

}  // namespace espalier::parallel
