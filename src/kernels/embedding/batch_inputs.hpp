#pragma once
#include "device/context.hpp"
#include "device/view.hpp"
#include "kernels/cost.hpp"

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
/// A context-parallel rank has blocks of block_length tokens of each sample, S_loc in all, whose
/// first tokens are block_starts: what is gathered then is of these tokens, in their order.
///
/// Cost: 4 (S + 1) bytes read and 12 S written per sample, 8 (S + 1) and 16 S with a mask.
struct BatchInputs {
  device::ConstView samples;             ///< (B, S+1) u32
  device::ConstView document_positions;  ///< (B, S+1) i32, or absent: no documents
  std::int64_t num_counted;              ///< samples 0 .. num_counted - 1 have targets that count
  bool predict_across = true;            ///< false: a document's first token is no target
  device::View tokens, targets;          ///< (1, B*S_loc) u32; S_loc is S without blocks
  device::View position_ids;             ///< (1, B*S_loc) i32
  device::View document_start;  ///< (1, B*S_loc) i32, or absent: attention over whole samples
  /// (B, S_loc / block_length) i32, or absent: all of every sample
  device::ConstView block_starts = {};
  std::int64_t block_length = 0;
};
void batch_inputs(device::Context& context, const BatchInputs& a);

inline Cost cost_of(const BatchInputs& a) {
  return {.flops = 0.0,
          .bytes = bytes_of(a.samples) + bytes_of(a.document_positions) + bytes_of(a.tokens) +
                   bytes_of(a.targets) + bytes_of(a.position_ids) + bytes_of(a.document_start)};
}

}  // namespace espalier::kernels
