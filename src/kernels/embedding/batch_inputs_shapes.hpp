#pragma once
#include "base/error.hpp"
#include "kernels/embedding/batch_inputs.hpp"

namespace espalier::kernels {

/// What every backend asks of their arguments.
inline void require_shapes(const BatchInputs& a) {
  const std::int64_t tokens = a.samples.rows * (a.samples.cols - 1);
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
