#pragma once
#include "config/parameters.hpp"
#include "parallel/layout/grid.hpp"

namespace espalier::config {

/// The process grid that resolved parameters describe.
parallel::GridShape grid_shape(const Parameters& parameters);
/// How its ranks share key and value heads and experts.
parallel::GridViews grid_views(const Parameters& parameters);
/// Stages on each rank of a pipeline: parallel.chunks, or what the schedule has without it.
int num_chunks(const ParallelParameters& parallel);
/// The place of a rank on it.
parallel::ProcessGrid process_grid(const Parameters& parameters, int rank);

}  // namespace espalier::config
