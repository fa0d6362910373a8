#pragma once
#include "device/context.hpp"
#include "device/view.hpp"

namespace espalier::kernels {

/// What the model reads of a micro-batch, gathered from samples as they lie in the shards: S + 1
/// tokens each, of which the first S are inputs and the last S targets. With documents, every token
/// comes with its place p in its document (0: it begins one), counted from the sample's first token
/// where the document began before it.
///
/// | of token s of a sample | value                                                            |
/// |------------------------|------------------------------------------------------------------|
/// | token                  | samples[s]                                                       |
/// | target                 | samples[s+1]; kIgnoredTarget where p[s+1] = 0 and documents are   |
/// |                        | not predicted across, and in samples that do not count           |
/// | position               | s, or p[s] with a mask                                           |
/// | first key              | s - p[s]; with a mask only                                       |
///
/// Cost: 4 (S + 1) bytes read and 12 S written per sample, 8 (S + 1) and 16 S with a mask.
struct BatchInputs {
  device::ConstView samples;             ///< (B, S+1) u32
  device::ConstView document_positions;  ///< (B, S+1) i32, or absent: no documents
  std::int64_t num_counted;              ///< samples 0 .. num_counted - 1 have targets that count
  bool predict_across = true;            ///< false: a document's first token is no target
  device::View tokens, targets;          ///< (1, B*S) u32
  device::View position_ids;             ///< (1, B*S) i32
  device::View document_start;           ///< (1, B*S) i32, or absent: attention over whole samples
};
void batch_inputs(device::Context& context, const BatchInputs& a);

}  // namespace espalier::kernels
