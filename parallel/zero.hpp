#pragma once
#include <map>
#include <span>
#include <utility>
#include <vector>

#include "device/view.hpp"
#include "parallel/comm/communicator.hpp"
#include "parallel/layout/grid.hpp"
#include "parallel/layout/shard_map.hpp"

namespace espalier::parallel {

/// One weight as this rank holds it. Views exclude padding rows and may be planned; they are absent
/// when another stage of the pipeline has the weight.
struct LocalTensor {
  const TensorSpec* spec = nullptr;
  device::View weight = {};    ///< (rows_loc, cols_loc) training dtype
  device::View gradient = {};  ///< (rows_loc, cols_loc) f32
  int bucket = kElsewhere;     ///< tensors of one become final together in the backward pass

  static constexpr int kElsewhere = -1;
  bool is_here() const { return bucket != kElsewhere; }
};

/// The shard of a tensor whose optimizer state this rank keeps: all of it at zero_stage 0, its rows
/// of the even division over gradient_span at zero_stage 1.
struct OwnedShard {
  std::int64_t tensor;              ///< index into the LocalTensors
  std::int64_t row_begin, row_end;  ///< local rows
  Rectangle rectangle;              ///< the same in global indices
  bool writes;  ///< this rank writes `written` to checkpoints and adds it to the gradient norm
  Rectangle written;  ///< what it writes: rectangle at stage 1; its ZeRO rows at stage 0
};

/// What the rank at this place of the grid writes of a tensor to checkpoints; empty: nothing.
Rectangle written_shard(const TensorSpec& spec, const ProcessGrid& grid);

/// Which rows of which tensor belong to whom. Pure; the same on every rank that asks for the same
/// place on the grid, whose views are those of the model (else Error, internal). Throws Error
/// (bad_configuration, met by every rank) where a tensor does not divide over the tensor ranks.
class ZeroPartition {
 public:
  ZeroPartition(std::span<const LocalTensor> tensors, const ProcessGrid& grid, int zero_stage);
  ZeroPartition(const ZeroPartition&) = delete;
  ZeroPartition& operator=(const ZeroPartition&) = delete;
  ZeroPartition(ZeroPartition&&) = default;
  const std::vector<OwnedShard>& shards() const { return shards_; }
  /// Row division of tensor `i` over the ranks of its gradient_span (as many and one more), which
  /// lives as long as the partition.
  std::span<const std::int64_t> begins(std::int64_t i) const {
    return begins_[static_cast<std::size_t>(i)];
  }
  int zero_stage() const { return zero_stage_; }

 private:
  std::vector<OwnedShard> shards_;
  /// By rows and ranks: as long as the grid has ranks, so each is kept once.
  std::map<std::pair<std::int64_t, int>, std::vector<std::int64_t>> divisions_;
  std::vector<std::span<const std::int64_t>> begins_;
  int zero_stage_;
};

}  // namespace espalier::parallel
