#pragma once
#include <fmt/format.h>

#include <array>
#include <map>
#include <string>
#include <vector>

#include "parallel/comm/communicator.hpp"
#include "support/forwarding_gpu.hpp"

namespace espalier::testing {

using Log = std::vector<std::string>;

/// Writes down which stream of a Context waits for which: "data waits for compute#3", the third
/// entry of the log being the next one when that moment of the other stream was recorded.
class WrittenGpu : public testing::ForwardingGpu {
 public:
  device::Stream create_stream(bool urgent) override {
    const device::Stream stream = ForwardingGpu::create_stream(urgent);
    // In the order in which a Context makes them.
    static constexpr std::array kNames{"compute", "data", "tensor", "context"};
    names_[stream] = kNames[names_.size() % kNames.size()];
    return stream;
  }
  void record(device::Event event, device::Stream stream) override {
    records_[event] = fmt::format("{}#{}", names_[stream], log.size());
    ForwardingGpu::record(event, stream);
  }
  void wait(device::Stream stream, device::Event event) override {
    log.push_back(fmt::format("{} waits for {}", names_[stream], records_[event]));
    ForwardingGpu::wait(stream, event);
  }
  Log log;

 private:
  std::map<device::Stream, std::string> names_;
  std::map<device::Event, std::string> records_;
};

/// A group of ranks of which only this one exists; what it is asked to do goes into a log.
class WrittenCommunicator : public parallel::Communicator {
 public:
  WrittenCommunicator(int size, Log& log, int rank = 0) : rank_(rank), size_(size), log_(log) {}
  int rank() const override { return rank_; }
  int size() const override { return size_; }
  void all_reduce_sum(device::View data) override {
    if (size_ > 1) log_.push_back(fmt::format("sum of {} rows", data.rows));
  }
  void all_gather(device::View out, device::ConstView) override {
    if (size_ > 1) log_.push_back(fmt::format("gather of {} rows", out.rows));
  }
  void reduce_scatter_sum(device::View, device::ConstView in) override {
    if (size_ > 1) log_.push_back(fmt::format("reduce-scatter of {} rows", in.rows));
  }
  void reduce_scatter_shards(std::span<const parallel::RowShards> tensors) override {
    if (size_ > 1) log_.push_back(fmt::format("sum of {}", tensors.size()));
  }
  void all_gather_shards(std::span<const parallel::RowShards> tensors) override {
    if (size_ > 1) log_.push_back(fmt::format("gather of {}", tensors.size()));
  }
  void exchange_rows(device::View, device::ConstView, std::span<const std::int64_t>,
                     std::span<const std::int64_t>) override {}
  void all_gather_counts(std::span<std::int64_t>, std::span<const std::int64_t>) override {}
  void all_reduce_sum(std::span<double>) override {}
  void all_reduce_max(std::span<double>) override {}
  void all_reduce_min(std::span<double>) override {}
  std::vector<double> all_gather(double value) override { return {value}; }
  std::string broadcast(std::string text, int) override { return text; }
  void broadcast(device::View, int) override {}
  void barrier() override {}
  std::vector<std::string> all_gather(const std::string& text) override { return {text}; }
  std::int64_t bytes_sent() const override { return 0; }

 private:
  int rank_, size_;
  Log& log_;
};

}  // namespace espalier::testing
