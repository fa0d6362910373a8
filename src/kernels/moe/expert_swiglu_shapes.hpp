#pragma once
#include "base/error.hpp"
#include "kernels/moe/expert_swiglu.hpp"

namespace espalier::kernels {

/// What every backend asks of the views.
inline void check_shapes(const ExpertSwigluBackward& a) {
  const std::int64_t rows = a.d_hidden.rows;
  const std::int64_t width = a.d_hidden.cols;
  ESPALIER_ASSERT(a.gate_up.rows == rows && a.gate_up.cols == 2 * width &&
                      a.d_gate_up.rows == rows && a.d_gate_up.cols == 2 * width &&
                      a.hidden.rows == rows && a.hidden.cols == width &&
                      a.row_weights.rows == rows && a.row_weights.cols == 1 &&
                      a.d_row_weights.rows == rows && a.d_row_weights.cols == 1,
                  "gate_up {}, d_hidden {}, row_weights {}, d_gate_up {}, hidden {}, "
                  "d_row_weights {}",
                  describe(a.gate_up), describe(a.d_hidden), describe(a.row_weights),
                  describe(a.d_gate_up), describe(a.hidden), describe(a.d_row_weights));
}

}  // namespace espalier::kernels
