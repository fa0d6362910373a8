#pragma once
#include <array>
#include <string>

#include "model/recompute.hpp"
#include "plan/memory_fit.hpp"

namespace espalier::plan {

/// What memory.recompute = "budget" chooses.
struct RecomputeChoice {
  model::BlocksOfModes blocks;  ///< all `full` where nothing fits
  std::int64_t needed_bytes;    ///< of the rank that needs most, with its libraries
  bool fits;
};

/// Whether memory.recompute = "budget" has yet to choose.
bool is_budget_open(const config::Parameters& parameters);
/// Throws Error (bad_configuration, met by every rank) where it has, and device.memory_gib is not
/// given.
void require_budget(const config::Parameters& parameters);

/// What it takes to recompute one block for one micro-batch, by mode, in FLOPs: of every operator
/// that is called again, as count_step counts them, its FLOPs or those for which there would be
/// time while its bytes pass, whichever are more; and those for which there would be time while
/// what a rank sends to its tensor group is on its way. The rates that turn bytes into FLOPs stand
/// for a class of machines (recompute_budget.cpp), and are the same on all of them.
std::array<double, model::kNumRecomputeModes> recompute_costs(const config::Parameters& parameters,
                                                              const parallel::GridShape& shape,
                                                              const Room& room);

/// Of all numbers of blocks with each mode those with which every rank fits into `room` at the
/// least cost; of equal cost those with the fewest bytes, then with the weakest modes. Blocks are
/// alike, so this is exact: the bytes are those of TrainingMemory::planned, and of the block that
/// is spared (model::RecomputeMix) no cost is counted. No communication: every rank plans the ranks
/// at the ends of the axes, and chooses what the others choose.
RecomputeChoice choose_recompute(const config::Parameters& parameters,
                                 const parallel::GridShape& shape, const Room& room);

/// The parameters with memory.recompute_blocks chosen for `room` where memory.recompute = "budget"
/// leaves it open; else unchanged.
config::Parameters with_recompute_chosen(config::Parameters parameters,
                                         const parallel::GridShape& shape, const Room& room);

/// The modes of the blocks that memory.recompute and memory.recompute_blocks mean. What "budget"
/// leaves open is chosen for device.memory_gib; throws Error (bad_configuration, met by every rank)
/// where that is not given.
model::RecomputeMix recompute_mix(const config::Parameters& parameters,
                                  const parallel::GridShape& shape, device::Backend backend,
                                  int compute_capability);

/// "20 blocks none, 8 mlp"
std::string describe_blocks(const model::BlocksOfModes& blocks);
/// Of parameters whose recompute_blocks are chosen: "recompute: 20 blocks none, 8 mlp: fits, 38.2
/// of 40 GiB"; empty where memory.recompute is not "budget".
std::string describe_recompute(const config::Parameters& parameters,
                               const parallel::GridShape& shape, const Room& room);

}  // namespace espalier::plan
