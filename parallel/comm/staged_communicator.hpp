#pragma once
#include <memory>
#include <vector>

#include "device/gpu.hpp"
#include "parallel/comm/communicator.hpp"

namespace espalier::parallel {

/// Communicator for memory of a GPU that passes everything through host memory: device to host,
/// the collective of `host`, host to device. Slow, but it needs nothing of the GPU: several ranks
/// may share one, which NCCL refuses, and the emulated GPU works alike. Sums have the bits of the
/// host's communicator.
///
/// A collective begins when `stream` has come past what was put into it before, and is over when
/// the call returns.
class StagedCommunicator final : public Communicator {
 public:
  StagedCommunicator(std::unique_ptr<Communicator> host, std::shared_ptr<device::Gpu> gpu,
                     device::Stream stream);
  ~StagedCommunicator() override;
  StagedCommunicator(const StagedCommunicator&) = delete;
  StagedCommunicator& operator=(const StagedCommunicator&) = delete;

  int rank() const override { return host_->rank(); }
  int size() const override { return host_->size(); }
  void all_reduce_sum(device::View data) override;
  void all_gather(device::View out, device::ConstView in) override;
  void reduce_scatter_sum(device::View out, device::ConstView in) override;
  void reduce_scatter_shards(std::span<const RowShards> tensors) override;
  void all_gather_shards(std::span<const RowShards> tensors) override;
  void exchange_rows(device::View out, device::ConstView in,
                     std::span<const std::int64_t> send_rows,
                     std::span<const std::int64_t> receive_rows) override;
  void all_gather_counts(std::span<std::int64_t> all, std::span<const std::int64_t> mine) override {
    host_->all_gather_counts(all, mine);
  }
  void all_reduce_sum(std::span<double> values) override { host_->all_reduce_sum(values); }
  void all_reduce_max(std::span<double> values) override { host_->all_reduce_max(values); }
  void all_reduce_min(std::span<double> values) override { host_->all_reduce_min(values); }
  std::vector<double> all_gather(double value) override { return host_->all_gather(value); }
  std::string broadcast(std::string text, int root) override {
    return host_->broadcast(std::move(text), root);
  }
  void broadcast(device::View data, int root) override;
  void barrier() override { host_->barrier(); }
  std::vector<std::string> all_gather(const std::string& text) override {
    return host_->all_gather(text);
  }
  std::int64_t bytes_sent() const override { return host_->bytes_sent(); }

 private:
  /// Pinned memory of at least `bytes`; what it held is gone. It grows to the largest collective.
  std::byte* staging(std::int64_t bytes);
  /// `view` with its rows in contiguous host memory at `at`.
  static device::View placed(const device::ConstView& view, std::byte* at);
  void fetch(const device::View& host, const device::ConstView& from);
  void store(const device::View& to, const device::ConstView& host);
  /// The tensors side by side in host memory.
  std::vector<RowShards> stage(std::span<const RowShards> tensors);
  void wait() { gpu_->synchronize(stream_); }

  std::unique_ptr<Communicator> host_;
  std::shared_ptr<device::Gpu> gpu_;
  device::Stream stream_;
  void* pinned_ = nullptr;
  std::int64_t pinned_bytes_ = 0;
};

}  // namespace espalier::parallel
