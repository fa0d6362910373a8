#pragma once
#include <cstdint>
#include <string>

namespace espalier::parallel {

/// How many ranks each axis has.
struct GridShape {
  int tensor = 1;
  int context = 1;
  int data = 1;
  int pipeline = 1;
  int size() const { return tensor * context * data * pipeline; }
};

/// The place of one rank on the process grid: immutable, printable, passed explicitly.
///
/// Rank order, fastest axis first: tensor, context, data, pipeline. Tensor groups are consecutive
/// ranks, so that they stay inside a node. tensor = 2, data = 3:
///
///              tensor 0   tensor 1
///     data 0   rank 0     rank 1
///     data 1   rank 2     rank 3
///     data 2   rank 4     rank 5
class ProcessGrid {
 public:
  ProcessGrid(GridShape shape, int rank);

  const GridShape& shape() const { return shape_; }
  int rank() const { return rank_; }
  int size() const { return shape_.size(); }
  int tensor_rank() const { return rank_ % shape_.tensor; }
  int context_rank() const { return rank_ / shape_.tensor % shape_.context; }
  int data_rank() const { return rank_ / (shape_.tensor * shape_.context) % shape_.data; }
  int pipeline_rank() const { return rank_ / (shape_.tensor * shape_.context * shape_.data); }

  /// A picture of the grid for the banner (at most about 8 x 16 ranks drawn).
  std::string picture() const;
  /// "tensor 2 x data 4 = 8 ranks"
  std::string describe() const;

 private:
  GridShape shape_;
  int rank_;
};

}  // namespace espalier::parallel
