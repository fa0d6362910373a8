#pragma once
#include "config/parameters.hpp"
#include "parallel/layout/grid.hpp"

namespace espalier::config {

/// The process grid that resolved parameters describe.
parallel::GridShape grid_shape(const Parameters& parameters);
/// How its ranks share key and value heads and experts.
parallel::GridViews grid_views(const Parameters& parameters);
/// The place of a rank on it.
parallel::ProcessGrid process_grid(const Parameters& parameters, int rank);

}  // namespace espalier::config
