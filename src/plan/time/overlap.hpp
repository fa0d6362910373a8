#pragma once
#include <string>

#include "config/parameters.hpp"

namespace espalier::plan {

/// Communication beside computation.
struct Exposure {
  double exposed = 0.0, hidden = 0.0;
};
/// Of `seconds` that pass in `parts` pieces beside `window` seconds of computation: what does not
/// fit is exposed, and the last piece, which has nothing beside it.
Exposure exposure(double seconds, double window, double parts);

/// The forward pass's share of a micro-batch's computation under memory.recompute: the backward
/// pass takes twice as long, and what it computes again.
double forward_share(const std::string& recompute);

/// How often a block of resolved parameters gathers keys on a GPU: the key and value heads of a
/// rank over those that are gathered at a time (parallel.context_kv_heads).
double key_parts(const config::Parameters& parameters);

}  // namespace espalier::plan
