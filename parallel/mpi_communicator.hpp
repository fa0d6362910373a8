#pragma once
#include <mpi.h>

#include <array>
#include <memory>
#include <string>
#include <vector>

#include "parallel/communicator.hpp"
#include "parallel/message_plan.hpp"

namespace espalier::parallel {

/// Throws Error (internal) with the name of the call and MPI's text unless `code` is MPI_SUCCESS.
void check_mpi(int code, const char* call);

/// Memory through which messages pass, shared by the communicators of a process: collectives
/// block, so only one of them is under way. Pages are touched at first use and then reused.
class Staging {
 public:
  /// At least `bytes` bytes; what earlier calls returned is gone.
  void reserve(std::int64_t bytes);
  std::byte* data() const { return aligned_; }  ///< on a cache line

 private:
  std::unique_ptr<std::byte[]> memory_;
  std::byte* aligned_ = nullptr;
  std::int64_t size_ = 0;
};

/// Communicator over MPI for host memory. Only point-to-point messages and gathers are MPI's: sums
/// are done here, in rank order, so that they neither depend on MPI's choice of algorithm nor
/// round bf16 more than once.
///
/// A reduce-scatter sends every rank its pieces and sums what arrives; an all-reduce is a
/// reduce-scatter and an all-gather (Rabenseifner 2004), or one exchange when it is small. Each
/// rank sends (n-1)/n of the data per half, the least possible. Rounds of messages overlap: while
/// round k is summed, round k+1 travels.
class MpiCommunicator final : public Communicator {
 public:
  /// Longest message. A few of them fit into the second-level cache together.
  static constexpr std::int64_t kMaxMessageBytes = std::int64_t{1} << 18;
  /// Staging stays near this size however many ranks there are.
  static constexpr std::int64_t kStagingBytes = std::int64_t{16} << 20;

  /// Takes `communicator` over and frees it. Collective.
  MpiCommunicator(MPI_Comm communicator, std::shared_ptr<Staging> staging,
                  std::int64_t max_message_bytes = kMaxMessageBytes);
  ~MpiCommunicator() override;
  MpiCommunicator(const MpiCommunicator&) = delete;
  MpiCommunicator& operator=(const MpiCommunicator&) = delete;

  int rank() const override { return rank_; }
  int size() const override { return size_; }
  void all_reduce_sum(device::View data) override;
  void all_gather(device::View out, device::ConstView in) override;
  void reduce_scatter_sum(device::View out, device::ConstView in) override;
  void reduce_scatter_pieces(std::span<const RowPieces> tensors) override;
  void all_gather_pieces(std::span<const RowPieces> tensors) override;
  void all_reduce_sum(std::span<double> values) override;
  void all_reduce_max(std::span<double> values) override;
  void all_reduce_min(std::span<double> values) override;
  std::vector<double> all_gather(double value) override;
  std::string broadcast(std::string text, int root) override;
  void broadcast(device::View data, int root) override;
  void barrier() override;
  std::vector<std::string> all_gather(const std::string& text) override;
  std::int64_t bytes_sent() const override { return bytes_sent_; }

 private:
  // Staging is cut into slots of one message: two rounds of one receiving and one sending slot
  // per rank of the group.
  std::byte* receive_slot(std::size_t round, int peer) const;
  std::byte* send_slot(std::size_t round, int peer) const;

  void plan_pieces(std::span<const RowPieces> tensors);
  void plan_even(std::byte* data, std::int64_t bytes);
  // Each works on the streams of plan_. sum_streams leaves the sum of this rank's stream in place,
  // or at the same offset from `result` as it lies from `own`.
  void sum_streams(DType dtype, std::byte* result, const std::byte* own);
  void gather_streams();
  void post_sum_round(std::size_t round);
  void post_gather_round(std::size_t round);
  void sum_round(std::size_t round, DType dtype, std::byte* result, const std::byte* own);
  void unpack_round(std::size_t round);
  void exchange_and_sum(device::View data);

  void post_receive(std::size_t round, void* data, std::int64_t bytes, int peer);
  void post_send(std::size_t round, const void* data, std::int64_t bytes, int peer);
  void wait(std::size_t round);
  template <class Combine>
  void combine_values(std::span<double> values, Combine combine);

  MPI_Comm communicator_;
  int rank_ = 0;
  int size_ = 1;
  std::shared_ptr<Staging> staging_;
  std::int64_t slot_bytes_;
  MessagePlan plan_;
  std::array<std::vector<MPI_Request>, 2> requests_;
  std::vector<const void*> sources_;
  std::vector<double> values_;
  std::int64_t bytes_sent_ = 0;
};

}  // namespace espalier::parallel
