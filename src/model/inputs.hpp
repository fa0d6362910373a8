#pragma once
#include <cstdint>

#include "device/context.hpp"
#include "model/activations.hpp"

namespace espalier::model {

/// One micro-batch on a rank, in host memory: the same on every rank of a tensor or context group.
/// What its members mean: kernels::BatchInputs.
struct Batch {
  device::ConstView samples;                  ///< (B, S+1) u32
  device::ConstView document_positions = {};  ///< (B, S+1) i32, or absent: no documents
  std::int64_t num_counted;                   ///< the first samples, whose targets count
  bool document_mask = false;                 ///< attention and positions begin anew in documents
  bool predict_across = true;
};

/// Copies the batch to where the operators run and gathers Slot::inputs from it: of a rank of a
/// context group, those of its tokens.
void gather_inputs(device::Context& context, Activations& activations, Slot& slot,
                   const Batch& batch, int context_rank = 0);

}  // namespace espalier::model
