#pragma once
#include <cstdint>
#include <map>
#include <memory>
#include <span>
#include <vector>

#include "device/context.hpp"
#include "parallel/bucket_events.hpp"
#include "parallel/comm/session.hpp"
#include "parallel/zero.hpp"

namespace espalier::parallel {

/// The weights and gradients of a rank's part of the model: who shares each of them, when the
/// weights of a bucket are here, and when its gradients are summed. One group of ranks does all of
/// it for a tensor: those of TensorSpec::gradient_span sum its gradient, divide its optimizer state
/// and gather its weight from one another. A step asks in this order:
///   acquire(b) before a pass uses the weights of bucket b, release(b) when it has;
///   accumulated(b, last) when a micro-batch has added its gradients to those of bucket b;
///   wait_for_gradients, then whoever updates the shards: wait_for_gathers; then begin_gather.
/// The tensors are those of the whole model, in its order: what other stages of a pipeline have is
/// absent here and takes part in nothing, but has its place in every list.
///
/// An embedding that is tied to the LM head of another rank (TensorSpec::tied_pipeline_rank) has a
/// gradient on either. wait_for_gradients adds up the two before it sums their bucket, for only
/// then both ranks have come to the end of their passes.
///
/// Stages 0 and 1 of ZeRO keep all weights and gradients at all times: gradients are summed with
/// the last micro-batch, weights gathered once a step. On a GPU the collectives live in the
/// communication stream.
class ParameterStore {
 public:
  /// The tensors' views (planned or backed) must outlive the store; the grid has the model's views.
  /// The first micro-batch of a step must replace what the gradients hold, as model::Stage does.
  /// Throws Error as ZeroPartition does.
  ParameterStore(std::vector<LocalTensor> tensors, const ProcessGrid& grid, int zero_stage);

  std::span<const LocalTensor> tensors() const { return tensors_; }
  const LocalTensor& tensor_of(const OwnedShard& shard) const {
    return tensors_[static_cast<std::size_t>(shard.tensor)];
  }
  /// What this rank owns, in the order of the tensors.
  std::span<const OwnedShard> shards() const { return partition_.shards(); }
  int num_buckets() const { return num_buckets_; }

  /// What the collectives need of make_communicators: the spans of GridCommunicators::gradients,
  /// and Span::tied where a weight here is held by two stages.
  std::span<const Span> gradient_spans() const { return asked_spans_; }
  /// The communicators for all that follows, which must outlive it. Before the first collective.
  void connect(GridCommunicators& communicators) { communicators_ = &communicators; }
  /// Whether a GPU computes on while gradients are summed and weights gathered
  /// (parallel.overlap_data). Which terms are summed in which order does not depend on it.
  void set_overlap(bool overlap) { overlap_ = overlap; }
  /// The order in which passes first use the buckets; without it that of their numbers. Numbers of
  /// buckets that are not there are left out.
  void set_gather_order(std::vector<int> order);
  /// Bytes of host memory that the communicators of gradient_spans need together when they pass
  /// everything through it: of each its largest grouped collective, every tensor padded to 64.
  std::int64_t staging_bytes() const;

  /// What the compute stream does from now on finds the weights of the bucket, until they are
  /// released as often as they were acquired. Every rank calls alike.
  void acquire(device::Context& context, int bucket);
  void release(int bucket) noexcept;
  /// All-gather of the weights (stage 1), as after a start. Collective.
  void gather(device::Context& context);
  /// The same beside what the GPU computes next, a group of messages per bucket. With tensor,
  /// context or expert ranks or a pipeline only the first two at once, then one ahead of what is
  /// acquired: NCCL launches what several communicators are given in the order of the calls, and
  /// the first message of a pass would come after the last gather. On the host, and without
  /// overlap, this is gather.
  void begin_gather(device::Context& context);
  /// Every gather that was begun, also of buckets that no pass has acquired: weights may change.
  void wait_for_gathers(device::Context& context);

  /// A micro-batch has added its gradients to those of the bucket. With the `last` one of a step
  /// they are summed: reduce-scatter to the owners (stage 1) or all-reduce (stage 0). Collective.
  /// With overlap the sums are there only after wait_for_gradients, as are those of the bucket of
  /// an embedding that is tied to another rank's LM head.
  void accumulated(device::Context& context, int bucket, bool last);
  /// All buckets are summed. Collective.
  void wait_for_gradients(device::Context& context);

 private:
  std::vector<LocalTensor> tensors_;
  ZeroPartition partition_;
  bool has_messages_in_passes_;
  bool overlap_ = false;
  int num_buckets_;
  std::vector<Span> spans_;        ///< by which gradients are summed and weights gathered
  std::vector<Span> asked_spans_;  ///< and Span::tied
  GridCommunicators* communicators_ = nullptr;
  int tied_bucket_ = LocalTensor::kElsewhere;  ///< of an embedding tied to another rank's LM head
  bool is_tied_pending_ = false;               ///< its gradients are complete and not yet summed

  /// What one group of ranks sums and gathers, ready for its grouped collectives.
  struct GroupShards {
    std::vector<RowShards> gradients, weights;
  };
  /// By span as in spans_.
  using ShardsBySpan = std::vector<GroupShards>;
  std::vector<ShardsBySpan> buckets_;  ///< what becomes final together
  ShardsBySpan all_;                   ///< of all buckets
  BucketEvents gathered_;

  /// What is gathered beside the computation: gather_order_[next_gather_ ..] is still to be asked
  /// for.
  std::vector<int> num_users_;  ///< by bucket: acquired and not yet released; below 0: a mistake
  std::vector<int> gather_order_;
  std::size_t next_gather_;
  void enqueue_gathers(device::Context& context, std::size_t end);
  void reduce(device::Context& context, int bucket);
  void add_tied_gradients(device::Context& context);
  Communicator& group(std::size_t span);
};

}  // namespace espalier::parallel
