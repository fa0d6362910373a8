#pragma once
#include <map>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "parallel/comm/communicator.hpp"
#include "parallel/comm/session.hpp"

namespace espalier::parallel {

/// What one rank has given to the collectives of a group, by collective.
struct CollectiveCost {
  std::int64_t calls = 0;
  std::int64_t bytes = 0;       ///< of the tensors, whole
  std::int64_t sent_bytes = 0;  ///< by this rank, as MpiCommunicator sends them
  bool operator==(const CollectiveCost&) const = default;
};
using CollectiveCosts = std::map<std::string_view, CollectiveCost>;

/// Counts collectives and hands them on, or, without a communicator, does nothing else: then views
/// may be planned, sums are this rank's own values, and texts and numbers come back as if all ranks
/// had given the same.
class CountingCommunicator : public Communicator {
 public:
  CountingCommunicator(int rank, int size) : rank_(rank), size_(size) {}
  explicit CountingCommunicator(std::unique_ptr<Communicator> inner)
      : rank_(inner->rank()), size_(inner->size()), inner_(std::move(inner)) {}

  const CollectiveCosts& costs() const { return costs_; }
  void reset() { costs_.clear(); }

  int rank() const override { return rank_; }
  int size() const override { return size_; }
  void all_reduce_sum(device::View data) override;
  void all_gather(device::View out, device::ConstView in) override;
  void reduce_scatter_sum(device::View out, device::ConstView in) override;
  void reduce_scatter_shards(std::span<const RowShards> tensors) override;
  void all_gather_shards(std::span<const RowShards> tensors) override;
  void exchange_rows(device::View out, device::ConstView in,
                     std::span<const std::int64_t> send_rows,
                     std::span<const std::int64_t> receive_rows) override;
  void all_gather_counts(std::span<std::int64_t> all, std::span<const std::int64_t> mine) override;
  void all_reduce_sum(std::span<double> values) override;
  void all_reduce_max(std::span<double> values) override;
  void all_reduce_min(std::span<double> values) override;
  std::vector<double> all_gather(double value) override;
  std::string broadcast(std::string text, int root) override;
  void broadcast(device::View data, int root) override;
  void barrier() override;
  std::vector<std::string> all_gather(const std::string& text) override;
  std::int64_t bytes_sent() const override;

 private:
  void add(std::string_view collective, std::int64_t bytes, std::int64_t sent_bytes);
  void add_values(std::string_view collective, std::size_t count);

  int rank_, size_;
  std::unique_ptr<Communicator> inner_;  ///< null: counts alone
  CollectiveCosts costs_;
};

/// The communicators of a rank of a grid that is only planned.
GridCommunicators counting_communicators(const ProcessGrid& grid,
                                         std::span<const Span> gradient_spans, bool overlap_tensor);
/// The same groups, counted from now on.
GridCommunicators counted(GridCommunicators communicators);
/// By group and collective: {"tensor", {"all_gather", ...}}. Of counting communicators only.
std::map<std::string, CollectiveCosts> costs_of(const GridCommunicators& communicators);

}  // namespace espalier::parallel
