#pragma once
#include <mpi.h>

#include <memory>
#include <string>
#include <vector>

#include "parallel/comm/communicator.hpp"
#include "parallel/comm/mpi_exchange.hpp"

namespace espalier::parallel {

/// Communicator over MPI for host memory. Only point-to-point messages and gathers are MPI's: sums
/// are done here, in rank order, so that they neither depend on MPI's choice of algorithm nor
/// round bf16 more than once.
///
/// A reduce-scatter sends every rank its shards and sums what arrives; an all-reduce is a
/// reduce-scatter and an all-gather (Rabenseifner 2004), or one exchange when it is small. Each
/// rank sends (n-1)/n of the data per half, the least possible.
class MpiCommunicator final : public Communicator {
 public:
  /// Longest message. A few of them fit into the second-level cache together.
  static constexpr std::int64_t kMaxMessageBytes = std::int64_t{1} << 18;

  /// Takes `communicator` over and frees it. Collective. Sums of views are taken in blocks of
  /// `block` consecutive ranks first, then over the blocks (sum_in_rank_order).
  MpiCommunicator(MPI_Comm communicator, std::shared_ptr<Staging> staging,
                  std::int64_t max_message_bytes = kMaxMessageBytes, int block = 1);
  ~MpiCommunicator() override;
  MpiCommunicator(const MpiCommunicator&) = delete;
  MpiCommunicator& operator=(const MpiCommunicator&) = delete;

  /// What it works on, and still owns.
  MPI_Comm handle() const { return communicator_; }

  /// What a rank of `size` sends for an all-reduce of a tensor of so many bytes.
  static std::int64_t bytes_of_all_reduce(std::int64_t bytes, int rank, int size);
  /// The same for the sum of so many host values.
  static std::int64_t bytes_of_value_sum(std::size_t count, int size);

  int rank() const override { return exchange_.rank(); }
  int size() const override { return exchange_.size(); }
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
  std::int64_t bytes_sent() const override { return bytes_sent_ + exchange_.bytes_sent(); }

 private:
  // The streams of the exchange: each rank's shards, or an even share of `data`.
  void plan_shards(std::span<const RowShards> tensors);
  void plan_even(std::byte* data, std::int64_t bytes);
  /// The sum of many values: each rank sums its share of them.
  void sum_shares(std::span<double> values);
  template <class Combine>
  void combine_values(std::span<double> values, Combine combine);

  MPI_Comm communicator_;
  MpiExchange exchange_;
  std::vector<double> values_;
  std::vector<Stretch> to_rank_, from_rank_;  ///< of exchange_rows
  std::int64_t bytes_sent_ = 0;               ///< beside the exchange's
};

}  // namespace espalier::parallel
