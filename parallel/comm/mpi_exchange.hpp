#pragma once
#include <mpi.h>

#include <array>
#include <memory>
#include <span>
#include <vector>

#include "device/view.hpp"
#include "parallel/comm/message_plan.hpp"

namespace espalier::parallel {

/// Memory through which messages pass, shared by the communicators of a process: collectives
/// block, so only one of them is under way. Pages are touched at first use and then reused.
class Staging {
 public:
  /// A cache line. Slots are multiples of it, and so are the shares of an all-reduce.
  static constexpr std::int64_t kAlignment = 64;

  /// At least `bytes` bytes; what earlier calls returned is gone.
  void reserve(std::int64_t bytes);
  std::byte* data() const { return aligned_; }  ///< aligned to kAlignment

 private:
  std::unique_ptr<std::byte[]> memory_;
  std::byte* aligned_ = nullptr;
  std::int64_t size_ = 0;
};

/// Carries out what a MessagePlan says, in rounds that overlap: while round k is summed or
/// unpacked, round k+1 travels. A stream of host memory belongs to each rank of the group; all
/// ranks describe the same streams. Messages are point to point, and sums are taken here, in rank
/// order.
class MpiExchange {
 public:
  /// Staging stays near this size however many ranks there are.
  static constexpr std::int64_t kStagingBytes = std::int64_t{16} << 20;

  /// What only passes is not summed in the cache: it goes in long parts, which MPI counts with int.
  static constexpr std::int64_t kPartMessages = 4096;

  /// `communicator` stays the caller's and must outlive this. `block`: of sum_in_rank_order.
  MpiExchange(MPI_Comm communicator, std::shared_ptr<Staging> staging,
              std::int64_t max_message_bytes, int block = 1);

  /// The longest message in a group of `size` ranks.
  static std::int64_t message_limit(int size, std::int64_t max_message_bytes);

  int rank() const { return rank_; }
  int size() const { return size_; }
  std::int64_t slot_bytes() const { return slot_bytes_; }  ///< the longest message
  std::int64_t bytes_sent() const { return bytes_sent_; }

  /// The streams of the next calls.
  MessagePlan& plan() { return plan_; }

  // Collective over the group, and done on return:

  /// This rank's stream becomes the sum over the ranks.
  void sum_in_place(DType dtype);
  /// As sum_in_place, but the stream stays as it is: the sum goes to `out`, contiguous and as long
  /// as the stream, in its order.
  void sum_into(const device::View& out);
  /// Every rank's stream becomes that rank's own.
  void gather();
  /// Without a plan, in messages of at most kPartMessages times the longest one: from_rank and
  /// to_rank have a stretch for every rank of the group, of which the own ones are left alone.
  void exchange(std::span<const Stretch> to_rank, std::span<const Stretch> from_rank);
  /// Without a plan: everyone sends all of `data`, at most slot_bytes(), and sums it.
  void sum_everywhere(const device::View& data);

 private:
  // Staging is cut into slots of one message: two rounds of one receiving and one sending slot
  // per rank of the group.
  std::byte* receive_slot(std::size_t round, int peer) const;
  std::byte* send_slot(std::size_t round, int peer) const;

  void post_sum_round(std::size_t round);
  void post_gather_round(std::size_t round);
  /// The sum of each stretch of this rank's stream, in order, goes to place(stretch).
  template <class Place>
  void sum(DType dtype, Place place);
  template <class Place>
  void sum_round(std::size_t round, DType dtype, Place place);
  void unpack_round(std::size_t round);

  void post_receive(std::size_t round, void* data, std::int64_t bytes, int peer);
  void post_send(std::size_t round, const void* data, std::int64_t bytes, int peer);
  void wait(std::size_t round);

  MPI_Comm communicator_;
  int rank_, size_, block_;
  std::shared_ptr<Staging> staging_;
  std::int64_t slot_bytes_, part_bytes_;
  MessagePlan plan_;
  std::array<std::vector<MPI_Request>, 2> requests_;
  std::vector<const void*> sources_;
  std::int64_t bytes_sent_ = 0;
};

}  // namespace espalier::parallel
