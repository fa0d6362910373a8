#pragma once
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "config/parameters.hpp"
#include "device/arena.hpp"
#include "device/context.hpp"
#include "kernels/adamw.hpp"
#include "optim/bucket_events.hpp"
#include "parallel/comm/session.hpp"
#include "parallel/zero.hpp"

namespace espalier::optim {

/// fp32 state of one owned shard, (rows, cols) each.
struct StateShard {
  parallel::OwnedShard shard;
  device::View master, m, v;
};

/// AdamW with ZeRO-1 (or stage 0). The order of calls in a step:
///   micro-batches, with reduce_bucket(b) in the last one as each bucket becomes final;
///   square_sums -> the step's all-reduce -> squared_norm -> update -> gather_weights.
/// One group of ranks does all of it for a weight: those of TensorSpec::gradient_span sum its
/// gradient, divide its state, gather it, and count it in the norm. On a GPU their collectives live
/// in the communication stream.
/// The first micro-batch must replace what the gradients hold, as model::Transformer does.
class Optimizer {
 public:
  /// Allocates master, m, v of the owned shards in `arena` (planning or backed). The tensors' views
  /// must outlive the optimizer; the grid has the model's views.
  Optimizer(std::vector<parallel::LocalTensor> tensors, const parallel::ProcessGrid& grid,
            int zero_stage, device::Arena& arena);

  /// The groups that the collectives below need of GridCommunicators::gradients.
  std::span<const parallel::Span> gradient_spans() const { return spans_; }

  /// Whether a GPU computes on while gradients are summed (parallel.overlap_data). Which terms are
  /// summed in which order does not depend on it.
  void set_overlap(bool overlap) { overlap_ = overlap; }

  /// Sums gradients over the spans of the table: reduce-scatter to the owners (stage 1) or
  /// all-reduce (stage 0). Collective. With overlap the sums are there only after
  /// wait_for_gradients, which square_sums calls itself.
  void reduce_bucket(device::Context& context, parallel::GridCommunicators& comm, int bucket);
  void wait_for_gradients(device::Context& context);
  int num_buckets() const { return num_buckets_; }

  /// For each tensor the sum of squares of the gradient rows that this rank writes, fp64; 0 where
  /// it writes none. Summed over all ranks, slot by slot, and given to squared_norm they are the
  /// square of the global gradient norm, whose bits depend neither on the stage nor on which of the
  /// ranks has a tensor. Valid until the next call.
  std::span<const double> square_sums(device::Context& context);

  struct Update {
    double learning_rate;
    double gradient_scale;  ///< min(1, max_grad_norm / norm)
    std::int64_t step;      ///< from 1
  };
  /// AdamW on the owned shards, each after before_overwrite(index into state()), which may wait for
  /// the checkpoint writer. Writes the owned rows of the weights.
  void update(device::Context& context, const config::OptimizerParameters& parameters,
              const Update& update, const std::function<void(std::int64_t)>& before_overwrite);
  /// All-gather of the updated weights over their spans (stage 1). Collective.
  void gather_weights(device::Context& context, parallel::GridCommunicators& comm);
  /// The same beside what the GPU computes next, a group of messages per bucket in the given order:
  /// that of their first use. With tensor ranks only the first two at once, then one ahead of what
  /// is waited for: NCCL launches what several communicators are given in the order of the calls,
  /// and the first collective of the tensor group would come after the last gather. Every rank
  /// calls alike. Whoever uses a bucket's weights calls wait_for_weights before; update waits for
  /// all of them itself. On the host, and without overlap, this is gather_weights.
  void begin_gather_weights(device::Context& context, parallel::GridCommunicators& comm,
                            std::span<const int> order);
  void wait_for_weights(device::Context& context, int bucket);

  /// weights (owned rows) = master; then gather_weights makes them known. After init and restart.
  void weights_from_master(device::Context& context);

  /// What the communicators of gradient_spans need when they pass everything through host memory:
  /// for each the bytes of its largest grouped collective, every tensor padded to 64.
  std::int64_t staging_bytes() const;

  std::span<StateShard> state() { return state_; }
  std::span<const parallel::LocalTensor> tensors() const { return tensors_; }

 private:
  std::vector<parallel::LocalTensor> tensors_;
  parallel::ZeroPartition partition_;
  std::vector<StateShard> state_;
  device::View square_sums_;  ///< (shards, 1) f64
  std::vector<kernels::AdamW> rectangles_;
  std::vector<device::ConstView> gradients_;  ///< of square_sums; kept for its memory
  std::vector<double> tensor_square_sums_;    ///< of square_sums
  int num_tensor_;
  bool overlap_ = false;
  int num_buckets_;
  std::vector<parallel::Span> spans_;

  /// What one group of ranks sums and gathers, ready for its grouped collectives.
  struct GroupShards {
    std::vector<parallel::RowShards> gradients, weights;
  };
  /// By span as in spans_.
  using ShardsBySpan = std::vector<GroupShards>;
  std::vector<ShardsBySpan> buckets_;  ///< what becomes final together
  ShardsBySpan all_;                   ///< of all buckets
  BucketEvents gathered_;

  /// What is gathered beside the computation: order[next ..] is still to be asked for.
  struct Gathering {
    parallel::GridCommunicators* comm = nullptr;
    std::vector<int> order;
    std::size_t next = 0;
  };
  Gathering gathering_;
  void enqueue_gathers(device::Context& context, std::size_t end);
};

/// The square of the gradient norm: what square_sums and a sum over all ranks left, added in the
/// order of the tensors.
double squared_norm(std::span<const double> square_sums);

/// min(1, max_norm / norm); 1 when max_norm == 0 (no clipping); NaN when the norm is NaN.
double clip_scale(double norm, double max_norm);

}  // namespace espalier::optim
