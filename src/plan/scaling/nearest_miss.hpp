#pragma once
#include <string>

#include "plan/scaling/search.hpp"

namespace espalier::plan {

/// The pair of a space that misses the budget by least, where none spends it.
struct NearestMiss {
  Shape shape;
  double tokens;
  double flops;
  double share_off;  ///< flops / budget - 1
};
/// Of the pairs that the filters let pass; they must let one.
NearestMiss nearest_miss(const SearchSpace& space);

/// Why the search has no candidate: the nearest miss, and which tolerance, numbers of tokens or
/// filter would take it, a line each.
std::string why_nothing_passes(const SearchSpace& space);

}  // namespace espalier::plan
