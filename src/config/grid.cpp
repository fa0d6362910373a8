#include "config/grid.hpp"

#include "base/integers.hpp"
#include "parallel/layout/shard_map.hpp"
#include "parallel/schedule/schedule.hpp"

namespace espalier::config {

parallel::GridShape grid_shape(const Parameters& p) {
  return {.tensor = narrow<int>(p.parallel.tensor),
          .context = narrow<int>(p.parallel.context),
          .data = narrow<int>(p.parallel.data),
          .pipeline = narrow<int>(p.parallel.pipeline)};
}

parallel::GridViews grid_views(const Parameters& p) {
  return parallel::views_of(p.model.num_key_value_heads, grid_shape(p),
                            narrow<int>(p.parallel.expert));
}

int num_chunks(const ParallelParameters& p) {
  return p.chunks > 0 ? narrow<int>(p.chunks)
                      : pipeline::default_chunks(pipeline::schedule_from_name(p.schedule));
}

parallel::ProcessGrid process_grid(const Parameters& p, int rank) {
  return {grid_shape(p), rank, grid_views(p)};
}

}  // namespace espalier::config
