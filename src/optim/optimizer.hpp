#pragma once
#include <cstdint>
#include <functional>
#include <span>
#include <vector>

#include "config/parameters.hpp"
#include "device/arena.hpp"
#include "device/context.hpp"
#include "kernels/adamw.hpp"
#include "parallel/session.hpp"
#include "parallel/zero.hpp"

namespace espalier::optim {

/// fp32 state of one owned piece, (rows, cols) each.
struct StatePiece {
  parallel::OwnedPiece piece;
  device::View master, m, v;
};

/// AdamW with ZeRO-1 (or stage 0). The order of calls in a step:
///   micro-batches, with reduce_bucket(b) in the last one as each bucket becomes final;
///   square_sum -> the step's all-reduce -> update -> gather_weights.
/// The first micro-batch must replace what the gradients hold, as model::Transformer does; whoever
/// only adds calls zero_gradients first.
class Optimizer {
 public:
  /// Allocates master, m, v of the owned pieces in `arena` (planning or backed). The tensors' views
  /// must outlive the optimizer.
  Optimizer(std::vector<parallel::LocalTensor> tensors, const parallel::ProcessGrid& grid,
            int zero_stage, bool sequence_parallel, device::Arena& arena);

  void zero_gradients(device::Context& context);

  /// Gradient sums over the tensor axis that the table asks for (GradientSum), then over the data
  /// axis: reduce-scatter to the owners (stage 1) or all-reduce (stage 0). Collective.
  void reduce_bucket(device::Context& context, parallel::GridCommunicators& comm, int bucket);
  int num_buckets() const { return num_buckets_; }

  /// Sum of squares of the gradient rows that this rank writes, fp64; the sum over all ranks is the
  /// square of the global gradient norm, with the same bits at both stages.
  double square_sum(device::Context& context);

  struct Update {
    double learning_rate;
    double gradient_scale;  ///< min(1, max_grad_norm / norm)
    std::int64_t step;      ///< from 1
  };
  /// AdamW on the owned pieces, each after before_overwrite(index into state()), which may wait for
  /// the checkpoint writer. Writes the owned rows of the weights.
  void update(device::Context& context, const config::OptimizerParameters& parameters,
              const Update& update, const std::function<void(std::int64_t)>& before_overwrite);
  /// All-gather of the updated weights over the data axis (stage 1). Collective.
  void gather_weights(device::Context& context, parallel::GridCommunicators& comm);

  /// weights (owned rows) = master; then gather_weights makes them known. After init and restart.
  void weights_from_master(device::Context& context);

  std::span<StatePiece> state() { return state_; }
  std::span<const parallel::LocalTensor> tensors() const { return tensors_; }

 private:
  std::vector<parallel::LocalTensor> tensors_;
  parallel::ZeroPartition partition_;
  std::vector<StatePiece> state_;
  device::View square_sums_;  ///< (pieces, 1) f64
  std::vector<kernels::AdamW> rectangles_;
  bool sequence_parallel_;
  int num_buckets_;

  /// What becomes final together, ready for the grouped collectives.
  struct Bucket {
    std::vector<parallel::RowPieces> tensor_sums;  ///< over the tensor group
    std::vector<parallel::RowPieces> kv_sums;      ///< over the kv replicas
    std::vector<parallel::RowPieces> gradients;    ///< over the data group
  };
  std::vector<Bucket> buckets_;
  std::vector<parallel::RowPieces> weights_;
};

/// min(1, max_norm / norm); 1 when max_norm == 0 (no clipping); NaN when the norm is NaN.
double clip_scale(double norm, double max_norm);

}  // namespace espalier::optim
