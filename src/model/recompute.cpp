#include "model/recompute.hpp"

#include <algorithm>

#include "base/error.hpp"

namespace espalier::model {

Recompute recompute_from_name(std::string_view name) {
  const auto found = std::find(kRecomputeNames.begin(), kRecomputeNames.end(), name);
  ESPALIER_ASSERT(found != kRecomputeNames.end(), "recompute \"{}\"", name);
  return static_cast<Recompute>(found - kRecomputeNames.begin());
}

RecomputeMix::RecomputeMix(Recompute of_all) {
  for (std::size_t i = 0; i < first_.size(); ++i)
    first_[i] = static_cast<std::size_t>(of_all) > i ? 0 : kNoLayer;
}

RecomputeMix::RecomputeMix(const BlocksOfModes& blocks) {
  std::int64_t weaker = 0, stronger = 0;
  for (const std::int64_t number : blocks) stronger += number;
  for (std::size_t i = 0; i < first_.size(); ++i) {
    weaker += blocks[i];
    stronger -= blocks[i];
    first_[i] = stronger > 0 ? weaker : kNoLayer;
  }
}

Recompute RecomputeMix::of(std::int64_t layer) const {
  const auto is_reached = [&](std::int64_t first) { return first <= layer; };
  return static_cast<Recompute>(std::count_if(first_.begin(), first_.end(), is_reached));
}

}  // namespace espalier::model
