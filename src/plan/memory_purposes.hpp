#pragma once
#include <string>
#include <vector>

#include "plan/memory_fit.hpp"

namespace espalier::plan {

/// What a part of a rank's memory is for.
struct MemoryPurpose {
  enum class Kind {
    planned,  ///< laid out in an arena or a workspace: to the byte
    guess,    ///< what libraries take, and at most what a save copies
    beside,   ///< host memory of a rank whose plan is for a GPU: not in its room
  };
  std::string name;
  std::int64_t bytes;
  Kind kind;
};

/// Of one rank, in an order that is the same for all ranks; purposes of no bytes are left out.
/// Those that are not `beside` add up to needed_bytes.
std::vector<MemoryPurpose> memory_purposes(const config::Parameters& parameters,
                                           const parallel::ProcessGrid& grid, const Room& room);

/// Bytes per token and block that blocks of each mode keep for the backward pass, on this rank.
std::array<double, model::kNumRecomputeModes> kept_bytes_per_token(
    const config::Parameters& parameters, const parallel::ProcessGrid& grid, const Room& room);

}  // namespace espalier::plan
