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
///   square_sum -> the step's all-reduce -> update -> gather_weights.
/// On a GPU the collectives of the data axis live in the communication stream. Those of the tensor
/// axis stay between the kernels that make and use their operands.
/// The first micro-batch must replace what the gradients hold, as model::Transformer does.
class Optimizer {
 public:
  /// Allocates master, m, v of the owned shards in `arena` (planning or backed). The tensors' views
  /// must outlive the optimizer.
  Optimizer(std::vector<parallel::LocalTensor> tensors, const parallel::ProcessGrid& grid,
            int zero_stage, bool sequence_parallel, device::Arena& arena);

  /// Whether a GPU computes on while the data axis sums gradients (parallel.overlap_data). Which
  /// terms are summed in which order does not depend on it.
  void set_overlap(bool overlap) { overlap_ = overlap; }

  /// Gradient sums over the tensor axis that the table asks for (GradientSum), then over the data
  /// axis: reduce-scatter to the owners (stage 1) or all-reduce (stage 0). Collective. With
  /// overlap the sums are there only after wait_for_gradients, which square_sum calls itself.
  void reduce_bucket(device::Context& context, parallel::GridCommunicators& comm, int bucket);
  void wait_for_gradients(device::Context& context);
  int num_buckets() const { return num_buckets_; }

  /// Sum of squares of the gradient rows that this rank writes, fp64; the sum over all ranks is the
  /// square of the global gradient norm, with the same bits at both stages.
  double square_sum(device::Context& context);

  struct Update {
    double learning_rate;
    double gradient_scale;  ///< min(1, max_grad_norm / norm)
    std::int64_t step;      ///< from 1
  };
  /// AdamW on the owned shards, each after before_overwrite(index into state()), which may wait for
  /// the checkpoint writer. Writes the owned rows of the weights.
  void update(device::Context& context, const config::OptimizerParameters& parameters,
              const Update& update, const std::function<void(std::int64_t)>& before_overwrite);
  /// All-gather of the updated weights over the data axis (stage 1). Collective.
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

  /// The most bytes that one grouped collective of each axis takes, each tensor padded to 64: what
  /// a communicator that passes them through host memory needs there. 0 on an axis of one rank.
  struct LargestGroups {
    std::int64_t tensor, kv_replicas, data;
  };
  LargestGroups largest_groups() const;

  std::span<StateShard> state() { return state_; }
  std::span<const parallel::LocalTensor> tensors() const { return tensors_; }

 private:
  std::vector<parallel::LocalTensor> tensors_;
  parallel::ZeroPartition partition_;
  std::vector<StateShard> state_;
  device::View square_sums_;  ///< (shards, 1) f64
  std::vector<kernels::AdamW> rectangles_;
  std::vector<device::ConstView> gradients_;  ///< of square_sum; kept for its memory
  int num_tensor_, num_data_;
  bool sequence_parallel_;
  bool overlap_ = false;
  int num_buckets_;

  /// What becomes final together, ready for the grouped collectives.
  struct Bucket {
    std::vector<parallel::RowShards> tensor_sums;  ///< over the tensor group
    std::vector<parallel::RowShards> kv_sums;      ///< over the kv replicas
    std::vector<parallel::RowShards> gradients;    ///< over the data group
    std::vector<parallel::RowShards> weights;      ///< over the data group
  };
  std::vector<Bucket> buckets_;
  std::vector<parallel::RowShards> weights_;  ///< of all buckets
  BucketEvents gathered_;

  /// What is gathered beside the computation: order[next ..] is still to be asked for.
  struct Gathering {
    parallel::Communicator* data = nullptr;
    std::vector<int> order;
    std::size_t next = 0;
  };
  Gathering gathering_;
  void enqueue_gathers(device::Context& context, std::size_t end);
};

/// min(1, max_norm / norm); 1 when max_norm == 0 (no clipping); NaN when the norm is NaN.
double clip_scale(double norm, double max_norm);

}  // namespace espalier::optim
