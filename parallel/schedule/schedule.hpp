#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

// Pipeline schedules as pure lists: what each rank of a pipeline computes, in which order. No MPI,
// no memory, no time. Trainer, planner and tests take the same lists.
//
// Letters: p ranks of the pipeline, m micro-batches of a step, v chunks (pieces of the model) per
// rank; p v stages, numbered from 0 in the order of the model.
//
//   lowering.hpp    the sends, receives and slots that a list needs
//   simulation.hpp  how long it takes, what it keeps, whether it comes to an end
//   picture.hpp     the same for a terminal

namespace espalier::pipeline {

enum class ActionKind : std::uint8_t {
  forward,           ///< F
  backward,          ///< whole: of every layer first B, then W; its result leaves at the end
  backward_inputs,   ///< B: gradients of the stage's input
  backward_weights,  ///< W: gradients of the stage's weights, from what B has left
};

/// One call of a stage.
struct Action {
  ActionKind kind = ActionKind::forward;
  int stage = 0;
  int micro_batch = 0;
  friend bool operator==(const Action&, const Action&) = default;
};

inline bool is_forward(const Action& a) {
  return a.kind == ActionKind::forward;
}
/// Whether it makes the gradients of its stage's input.
inline bool makes_input_gradients(const Action& a) {
  return a.kind == ActionKind::backward || a.kind == ActionKind::backward_inputs;
}
/// Whether it adds to the gradients of its stage's weights.
inline bool makes_weight_gradients(const Action& a) {
  return a.kind == ActionKind::backward || a.kind == ActionKind::backward_weights;
}

/// "F", "BW" (a whole backward), "B" or "W".
std::string_view letters_of(ActionKind kind);
/// "F of stage 3, micro-batch 7"
std::string describe(const Action& action);

/// Which rank has which stages. p = 4, v = 2:
///
///              loop            v
///     rank 0   stages 0, 4     stages 0, 7
///     rank 1   stages 1, 5     stages 1, 6
///     rank 2   stages 2, 6     stages 2, 5
///     rank 3   stages 3, 7     stages 3, 4     its turn, 3 to 4, stays on the rank
struct Placement {
  enum class Shape : std::uint8_t { loop, v } shape = Shape::loop;
  int ranks = 1;   ///< p
  int chunks = 1;  ///< v

  int num_stages() const { return ranks * chunks; }
  int chunk_of(int stage) const { return stage / ranks; }
  int rank_of(int stage) const;
  int stage_of(int rank, int chunk) const;
};

enum class ScheduleKind : std::uint8_t {
  gpipe,        ///< all forwards, then all backwards; Huang et al. 2019, arXiv:1811.06965
  one_f_one_b,  ///< "1f1b", without a flush between; Narayanan et al. 2021, arXiv:2006.09503;
                ///< Megatron-LM megatron/core/pipeline_parallel/schedules.py,
                ///< forward_backward_pipelining_without_interleaving
  interleaved,  ///< 1f1b over v chunks; Narayanan et al. 2021, arXiv:2104.04473; the same file,
                ///< forward_backward_pipelining_with_interleaving
  zb_h1,        ///< 1f1b with W put off; Qi et al. 2023, arXiv:2401.10241, figure 3
  zb1p,         ///< the same over v chunks; torch/distributed/pipelining/schedules.py,
                ///< ScheduleInterleavedZeroBubble
  zb_v,         ///< Qi et al. 2024, arXiv:2405.15362; torch, ScheduleZBVZeroBubble
  dualpipe_v,   ///< half of DualPipe (DeepSeek-V3, arXiv:2412.19437); deepseek-ai/DualPipe
                ///< dualpipe/dualpipev.py. Its pairs of a forward and a backward, which hide the
                ///< exchange of experts behind each other, are neighbours in the list
};

/// In the order of the enum: "gpipe", "1f1b", "interleaved", "zb-h1", "zb1p", "zb-v", "dualpipe-v".
std::span<const std::string_view> schedule_names();
std::string_view name_of(ScheduleKind kind);
/// Throws Error (bad_configuration, met by every rank) for another name, with the nearest.
ScheduleKind schedule_from_name(std::string_view name);

/// Whether it places its stages as a V.
bool is_v_shaped(ScheduleKind kind);

/// How many stages of how many micro-batches.
struct PipelineShape {
  int ranks = 1;          ///< p
  int micro_batches = 1;  ///< m
  int chunks = 1;         ///< v
};

/// The v that a schedule has when nobody says: 1, or 2 where it needs chunks.
int default_chunks(ScheduleKind kind);

/// Why a schedule cannot have this shape, and what would fit, a sentence for each number; both
/// empty: it can. gpipe, 1f1b and zb-h1 take any m with v = 1; interleaved v >= 2 and m a multiple
/// of p; zb1p any v, and m a multiple of p when v > 1; zb-v v = 2 and any m; dualpipe-v v = 2 and
/// m >= 2p.
struct Misfit {
  std::string chunks;         ///< "zb-v has 2 chunks per rank, not 3"
  std::string micro_batches;  ///< "interleaved needs a multiple of 4 micro-batches: 4 or 8"
  bool none() const { return chunks.empty() && micro_batches.empty(); }
  const std::string& first() const { return chunks.empty() ? micro_batches : chunks; }
};
Misfit misfit_of(ScheduleKind kind, const PipelineShape& shape);

/// What every rank does in one step.
struct Schedule {
  ScheduleKind kind = ScheduleKind::gpipe;
  Placement placement;
  int micro_batches = 1;
  std::vector<std::vector<Action>> actions;  ///< by rank, in order
};

/// The schedule. The gradients of a stage's weights are made in ascending order of the
/// micro-batches, as a run without a pipeline makes them: no sum is taken in another order. Throws
/// Error (bad_configuration, met by every rank) for a shape that does not fit.
Schedule make_schedule(ScheduleKind kind, const PipelineShape& shape);

/// What is wrong with the lists, a sentence each, at most `at_most` of them: an action that is
/// missing, there twice, on another rank than its stage, or before one of its rank that it needs;
/// weight gradients that do not ascend; a stage whose forwards or backwards follow another order
/// than those of its neighbour stage, which links without tags would mix up. Empty: none of these;
/// whether ranks wait for each other says the simulation.
std::vector<std::string> mistakes_of(const Schedule& schedule, std::size_t at_most = 8);

}  // namespace espalier::pipeline
