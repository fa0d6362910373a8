#pragma once
#include "base/error.hpp"
#include "kernels/embedding/batch_inputs.hpp"

namespace espalier::kernels {

/// S_loc, the tokens of each sample that are gathered.
inline std::int64_t gathered_length(const BatchInputs& a) {
  return a.block_length == 0 ? a.samples.cols - 1 : a.block_starts.cols * a.block_length;
}

/// What every backend asks of their arguments.
inline void require_shapes(const BatchInputs& a) {
  const std::int64_t tokens = a.samples.rows * gathered_length(a);
  ESPALIER_ASSERT(a.block_starts.exists() == (a.block_length > 0) &&
                      (a.block_length == 0 ||
                       (a.block_starts.rows == a.samples.rows && a.block_starts.is_contiguous() &&
                        a.block_starts.dtype == DType::i32)),
                  "blocks of {} begin at {}", a.block_length, describe(a.block_starts));
  const bool documents = a.document_positions.exists();
  ESPALIER_ASSERT(a.samples.cols > 1 && a.tokens.cols == tokens && a.targets.cols == tokens &&
                      a.position_ids.cols == tokens,
                  "samples {}, tokens {}, targets {}, position_ids {}", describe(a.samples),
                  describe(a.tokens), describe(a.targets), describe(a.position_ids));
  ESPALIER_ASSERT(!documents || (a.document_positions.rows == a.samples.rows &&
                                 a.document_positions.cols == a.samples.cols),
                  "samples {}, document position_ids {}", describe(a.samples),
                  describe(a.document_positions));
  ESPALIER_ASSERT(!a.document_start.exists() || (documents && a.document_start.cols == tokens),
                  "a mask needs the documents: document starts {}, document position_ids {}",
                  describe(a.document_start), describe(a.document_positions));
  ESPALIER_ASSERT(a.predict_across || documents,
                  "prediction inside documents alone needs to know them");
}

}  // namespace espalier::kernels
