#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "parallel/layout/grid.hpp"
#include "parallel/layout/weight_role.hpp"

// Pure arithmetic: which part of which tensor lies where. No MPI, no memory.

namespace espalier::parallel {

/// How a weight (out, in) is divided over the tensor axis.
///
/// | rule       | who                           | rank t of n holds                           |
/// |------------|-------------------------------|---------------------------------------------|
/// | none       | norms                         | everything                                  |
/// | rows       | q, gate, up (column-parallel) | rows [t R/n, (t+1) R/n)                     |
/// | columns    | o, down (row-parallel)        | columns [t C/n, (t+1) C/n)                  |
/// | vocab_rows | embedding, LM head            | rows [t P, min(V, (t+1) P)), P = ceil(V/n)  |
/// | kv_rows    | k, v                          | as rows when n <= K; else kv head t / (n/K) |
/// | experts    | gate_up, down of experts      | as rows, over the expert group (Span)       |
///
/// With n > K, n/K tensor ranks hold the rows of the same kv head. Experts are whole: R is a
/// multiple of their number, which the expert group's size divides.
enum class ShardRule : std::uint8_t { none, rows, columns, vocab_rows, kv_rows, experts };

/// Whether the rule can divide `count` of what must not be cut (heads, columns, rows; K for
/// kv_rows) over n tensor ranks: evenly, save vocab_rows, which only must leave none without a row.
bool divides(ShardRule rule, std::int64_t count, std::int64_t n);

enum class Init : std::uint8_t { normal, ones, zeros };

/// Where Hugging Face keeps a weight when its files differ from our rows: GPT-2 stores its matrices
/// (in, out) and joins q, k and v. Row r, column c of ours is element (offset + r, c) of the tensor
/// `name` of `total_rows` rows, or (c, offset + r) when transposed. Several of our rows share one.
struct HuggingFacePlace {
  std::string name;         ///< empty: TensorSpec::name, whole, not transposed
  bool transposed = false;  ///< matrices: file shape (cols, total_rows)
  std::int64_t offset = 0;  ///< first of its total_rows
  std::int64_t total_rows = 0;
  /// Of experts: the tensors of an expert, {} in place of its number. Each has an equal part of the
  /// expert's rows, in this order. Transformers 5 can also keep them as ours, under
  /// TensorSpec::name, as (E, rows of an expert, cols).
  std::vector<std::string> expert_parts = {};
};

/// One row of the tensor table: everything the program needs to know about a weight.
struct TensorSpec {
  std::string name;  ///< Hugging Face name, e.g. "model.layers.0.self_attn.q_proj.weight"
  WeightRole role = WeightRole::embedding;
  bool is_bias = false;   ///< of the layer or norm that `role` names
  std::int64_t rows = 0;  ///< global; a vector of n has rows = n, cols = 1
  std::int64_t cols = 1;
  bool is_vector = false;  ///< shape (rows) in files instead of (rows, cols)
  ShardRule shard = ShardRule::none;
  Init init = Init::normal;
  double init_scale = 1.0;   ///< times initializer_range (GPT-2: 1/sqrt(2L) of c_proj)
  bool weight_decay = true;  ///< matrices only
  /// The ranks whose gradients of it are summed. They divide its optimizer state among them
  /// (ZeRO-1), gather its weight from one another, and each counts its own part in the norm.
  Span gradient_span = Span::tokens_shared;
  std::int64_t num_kv_heads = 0;  ///< for kv_rows: K
  std::int64_t num_experts = 0;   ///< for experts: E
  int layer = -1;                 ///< -1: not in a block
  /// The pipeline rank that holds it, counts it in the norm and writes it to checkpoints.
  int pipeline_rank = 0;
  /// Of a tied embedding that the last stage holds, too: that stage's pipeline rank; else -1. The
  /// gradients of both are added up (Span::tied) before those of gradient_span, which each stage
  /// sums for itself: both then hold the same optimizer state, and no weight travels.
  int tied_pipeline_rank = -1;
  HuggingFacePlace place = {};  ///< in Hugging Face's files
  std::int64_t num_elements() const { return rows * cols; }
};

/// Half-open rectangle in the global index space of one tensor.
struct Rectangle {
  std::int64_t row_begin = 0, row_end = 0, col_begin = 0, col_end = 0;
  std::int64_t rows() const { return row_end - row_begin; }
  std::int64_t cols() const { return col_end - col_begin; }
  std::int64_t size() const { return rows() * cols(); }
  bool empty() const { return rows() <= 0 || cols() <= 0; }
  bool operator==(const Rectangle&) const = default;
};
Rectangle intersect(const Rectangle& a, const Rectangle& b);  ///< empty: all zero

/// What tensor rank `t` of `n` holds of `spec` (valid rows only: no padding). Not of experts.
Rectangle tensor_shard(const TensorSpec& spec, int t, int n);
/// Whether a rank of the pipeline holds `spec`.
bool is_on_stage(const TensorSpec& spec, int pipeline_rank);
/// What the rank at this place of the grid, which has the model's views, holds of `spec`; empty
/// where another stage does.
Rectangle held_shard(const TensorSpec& spec, const ProcessGrid& grid);
/// Rows that the rank allocates: tensor_shard's, or the padded P for vocab_rows.
std::int64_t allocated_rows(const TensorSpec& spec, int n);
/// n / K for n > K, else 1. Requires that one divides the other.
int kv_replication(std::int64_t num_kv_heads, int n);
/// The views of the grid of a model with so many key and value heads, whose experts are divided
/// over `expert` ranks.
GridViews views_of(std::int64_t num_kv_heads, const GridShape& shape, int expert = 1);
/// The ranks of a stage that hold the same shard of a weight.
Span holders(ShardRule rule);
/// Whether what this rank owns of the weight is its to count in the norm and to write. The ranks of
/// gradient_span own each element once. Where they are not all holders, there are several groups of
/// them with the same gradient (norms without sequence parallelism), and the first of these counts.
bool counts_here(const TensorSpec& spec, const ProcessGrid& grid);

/// `rows` divided evenly over `ranks`, ceil(rows/ranks) each, the last ones fewer or none. Returns
/// ranks + 1 begins.
std::vector<std::int64_t> even_row_begins(std::int64_t rows, int ranks);

/// The rectangle whose optimizer state this rank owns under ZeRO-1 (Rajbhandari et al. 2020): the
/// rows of its shard are divided evenly over gradient_span.
Rectangle owned_shard(const TensorSpec& spec, const ProcessGrid& grid);

}  // namespace espalier::parallel
