#pragma once
#include <algorithm>

#include "parallel/schedule/schedule.hpp"

namespace espalier::pipeline {

constexpr int kMostRanks = 8, kMostMicroBatches = 32, kMostChunks = 4;

/// Every schedule of up to 8 ranks, 32 micro-batches and 4 chunks that fits.
template <class Body>
void for_every_shape(Body&& body) {
  for (const std::string_view name : schedule_names()) {
    const ScheduleKind kind = schedule_from_name(name);
    for (int p = 1; p <= kMostRanks; ++p)
      for (int m = 1; m <= kMostMicroBatches; ++m)
        for (int v = 1; v <= kMostChunks; ++v) {
          const PipelineShape shape{.ranks = p, .micro_batches = m, .chunks = v};
          if (misfit_of(kind, shape).none()) body(kind, shape);
        }
  }
}

}  // namespace espalier::pipeline
