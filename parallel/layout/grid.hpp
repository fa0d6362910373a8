#pragma once
#include <cstdint>
#include <string>
#include <vector>

// Pure arithmetic: which ranks belong together. No MPI, no memory. Nobody else computes with ranks.

namespace espalier::parallel {

/// How many ranks each axis has.
struct GridShape {
  int tensor = 1;
  int context = 1;
  int data = 1;
  int pipeline = 1;
  int size() const { return stage_size() * pipeline; }
  /// Ranks of one pipeline stage.
  int stage_size() const { return tensor * context * data; }
};

/// Other ways to group the ranks of a stage than by its axes: numbers beside the grid, no axes.
struct GridViews {
  /// Consecutive tensor ranks that hold the same key and value heads; divides `tensor`.
  int kv_replication = 1;
  /// Consecutive ranks of a stage that share the experts of a layer; divides the stage's size.
  int expert = 1;
  /// Parts of the data axis that each hold a whole set of ZeRO shards (HSDP); divides `data`. The
  /// data coordinate is part * (data / replicas) + place in the part.
  int replicas = 1;
};

/// What a group of ranks spans: those that differ from one another in nothing but this.
///
/// tokens_shared, kv_tokens and tokens contain one another, in this order.
enum class Span : std::uint8_t {
  self,           ///< this rank alone: what has no peer
  tensor,         ///< shares of the same matrices: sums of tensor-parallel layers
  context,        ///< parts of the same sequences: keys and values pass along it
  data,           ///< shares of a step's samples
  pipeline,       ///< the stages: activations and their gradients pass along it
  kv_replicas,    ///< tensor ranks with the same key and value heads
  tokens_shared,  ///< context x data: ranks with the same shard, all having seen other tokens;
                  ///< gradients of what the tensor axis divides
  kv_tokens,      ///< kv_replicas x context x data: gradients of key and value projections
  tokens,         ///< tensor x context x data, a whole stage: gradients of what is whole on every
                  ///< tensor rank, each having seen a part of the tokens or of the heads
  expert,         ///< ranks that have different experts of a layer: tokens are sent along it
  expert_data,    ///< ranks of a stage with the same experts: gradients of experts
  tied,           ///< the two ranks of the first and the last stage at the same place: the gradient
                  ///< of an embedding that is also the LM head, before it is summed over others; a
                  ///< rank of a stage between has none and is alone
  replicas,       ///< ranks with the same place in the parts of the data axis (HSDP): their sum
                  ///< comes after that within a part
  world,          ///< all ranks: norm, loss, step scalars
};

/// The coordinates of a rank.
struct GridPlace {
  int tensor = 0;
  int context = 0;
  int data = 0;
  int pipeline = 0;
};

/// The place of one rank on the process grid, and the groups it belongs to: immutable, printable,
/// passed explicitly.
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
  ProcessGrid(GridShape shape, int rank, GridViews views = {});
  /// The same rank of the same grid with other views.
  ProcessGrid with(GridViews views) const { return {shape_, rank_, views}; }

  const GridShape& shape() const { return shape_; }
  const GridViews& views() const { return views_; }
  int rank() const { return rank_; }
  int size() const { return shape_.size(); }
  int tensor_rank() const { return rank_ % shape_.tensor; }
  int context_rank() const { return rank_ / shape_.tensor % shape_.context; }
  int data_rank() const { return rank_ / (shape_.tensor * shape_.context) % shape_.data; }
  int pipeline_rank() const { return rank_ / shape_.stage_size(); }

  /// The world ranks of this rank's group, ascending: the same list on each of them.
  std::vector<int> group(Span span) const;
  /// The first of them, by which a group can be told from the others.
  int first_of(Span span) const;
  /// This rank's place in the list.
  int index_in(Span span) const;
  int size_of(Span span) const;
  /// In the list of tokens or kv_tokens so many consecutive ranks are of one tensor group: sums are
  /// taken within these first. 1 in the others.
  int block_of(Span span) const;
  /// The smallest of tokens_shared, kv_tokens and tokens with the ranks of `span`, which is one of
  /// them or expert_data: spans that differ in nothing but their names share a communicator.
  Span simplest(Span span) const;

  /// A picture of the grid for the banner (at most about 8 x 16 ranks drawn).
  std::string picture() const;
  /// "tensor 2 x data 4 = 8 ranks"
  std::string describe() const;

 private:
  GridShape shape_;
  int rank_;
  GridViews views_;
};

/// The rank at a place of the grid.
int rank_at(const GridShape& shape, const GridPlace& place);
/// The ranks at the ends of the axes, of every stage of a pipeline. Padding of the vocabulary and
/// remainders of the ZeRO division lie there, so that the smallest and the largest share of every
/// division is among them; no two stages need be alike.
std::vector<int> corner_ranks(const GridShape& shape);

}  // namespace espalier::parallel
