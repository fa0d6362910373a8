#pragma once
#include <cstdint>

#include "device/arena.hpp"
#include "model/expert_options.hpp"
#include "model/local_sizes.hpp"

namespace espalier::model {

/// Numbers of rows of an expert layer on this rank.
struct ExpertSizes {
  std::int64_t ranks = 1;      ///< of the expert group
  std::int64_t pairs = 0;      ///< T_loc*k: a row for each expert of each of the rank's tokens
  std::int64_t most_rows = 0;  ///< that can meet the rank's experts: ranks * T_loc * min(k, E_loc)
  /// C: rows that there is memory for, capacity_factor * pairs and never more than most_rows. When
  /// more arrive they are computed in rounds (ExpertRounds).
  std::int64_t capacity = 0;

  static ExpertSizes of(const LocalSizes& sizes, std::int64_t local_tokens, double capacity_factor);
  bool may_take_rounds() const { return most_rows > capacity; }
};

/// What the forward pass of a block's experts leaves for the backward pass, on this rank's tokens.
/// The choice is kept whatever is recomputed: a second one could differ.
struct ExpertActivations {
  device::View probabilities;  ///< (T_loc, E) f32; the logits at first
  device::View log_sum_exp;    ///< (1, T_loc) f32 of the logits
  device::View chosen;         ///< (T_loc, k) i32 experts
  device::View weights;        ///< (T_loc, k) f32
  device::View order;          ///< (1, T_loc*k) i32: place sorted by expert -> pair
  device::View place;          ///< (T_loc, k) i32: pair -> place sorted by expert
  // Of the first round, by expert, source rank and token:
  device::View rows;     ///< (C, H) the experts' input
  device::View gate_up;  ///< (C, 2 Fe); the backward pass overwrites it with its gradient
};

/// What the gradients of a block's experts need when they are computed later (DeferredProducts).
struct DeferredExperts {
  device::View n2;        ///< (T_loc, H), when it is not kept
  device::View d_branch;  ///< (T_loc, H), for further rounds
  device::View rows;      ///< (C, H), when they are not kept
  device::View dy;        ///< (C, H) gradients of the experts' outputs
  device::View hidden;    ///< (C, Fe), times the rows' weights
  device::View gate_up;   ///< (C, 2 Fe) its gradient, when it is not kept
  device::View d_logits;  ///< (T_loc, E)
};

/// One set for all blocks with experts.
struct ExpertScratch {
  device::View counts;    ///< (1, E) i32
  device::View d_logits;  ///< (T_loc, E)
  device::View pairs;     ///< (T_loc*k, H) rows by expert, to be sent or that have come back
  device::View hidden;    ///< (C, Fe)
  // With more than one rank: rows in the order in which they come, and in that of the experts.
  device::View received, results;                       ///< (C, H)
  device::View received_of_window, window_of_received;  ///< (1, C) i32
  // For rounds after the first.
  device::View further_rows, further_gate_up;  ///< (C, H), (C, 2 Fe)
  device::View returned;                       ///< (T_loc*k, H), with more than one rank
  // For the backward pass.
  device::View pair_weights;    ///< (T_loc*k, 1) f32 by expert; of one rank
  device::View d_pair_weights;  ///< (T_loc*k, 1) f32 by expert, and weights to be sent before
  device::View d_weights;       ///< (T_loc, k) f32
  device::View received_weights, row_weights, d_row_weights;  ///< (C, 1) f32; with more ranks
  device::View returned_weights;  ///< (T_loc*k, 1) f32, for rounds and with more ranks
  device::View balance_counts;    ///< (B or 1, E) f32
  /// (blocks with experts of the model, 2) f64: the losses of balance and of size since taken
  device::View balance_sums;
};

struct ExpertScratchShape {
  std::int64_t local_tokens;   ///< T_loc
  std::int64_t num_sequences;  ///< B of the micro-batch
  bool training;
  ExpertOptions options;
};
ExpertScratch allocate_expert_scratch(const LocalSizes& sizes, const ExpertScratchShape& shape,
                                      DType dtype, device::Arena& arena);

}  // namespace espalier::model
