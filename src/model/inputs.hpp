#pragma once
#include <cstdint>

#include "device/context.hpp"
#include "model/activations.hpp"

namespace espalier::model {

/// One micro-batch on a rank, in host memory: the same on every rank of a tensor group. What its
/// members mean: kernels::BatchInputs.
struct Batch {
  device::ConstView samples;                  ///< (B, S+1) u32
  device::ConstView document_positions = {};  ///< (B, S+1) i32, or absent: no documents
  std::int64_t num_counted;                   ///< the first samples, whose targets count
  bool document_mask = false;                 ///< attention and positions begin anew in documents
  bool predict_across = true;
};

/// What the model reads of it, where the operators run. The memory is that of Activations.
struct Inputs {
  device::ConstView tokens;          ///< (1, T) u32
  device::ConstView targets;         ///< (1, T) u32, kernels::kIgnoredTarget where none counts
  device::ConstView position_ids;    ///< (1, T) i32
  device::ConstView document_start;  ///< (1, T) i32, or absent: attention over whole sequences
};

/// Copies the batch to where the operators run and gathers the inputs from it.
Inputs gather_inputs(device::Context& context, Activations& activations, const Batch& batch);

}  // namespace espalier::model
