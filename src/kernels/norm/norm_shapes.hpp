#pragma once
#include "base/error.hpp"
#include "kernels/norm/layernorm.hpp"
#include "kernels/norm/rmsnorm.hpp"

namespace espalier::kernels {

// What the norms on every backend ask of their arguments.

/// The addition that is fused into a norm: of RmsNormForward or LayerNormForward.
template <class Forward>
void require_residual_shapes(const Forward& a) {
  ESPALIER_ASSERT(!a.delta.exists() || (a.delta.rows == a.x.rows && a.delta.cols == a.x.cols &&
                                        a.residual.rows == a.x.rows && a.residual.cols == a.x.cols),
                  "x {}, delta {}, residual {}", describe(a.x), describe(a.delta),
                  describe(a.residual));
}

inline void require_shapes(const RmsNormForward& a) {
  ESPALIER_ASSERT(a.y.rows == a.x.rows && a.y.cols == a.x.cols && a.weight.cols == a.x.cols &&
                      a.inverse_rms.cols == a.x.rows,
                  "x {}, weight {}, y {}, inverse_rms {}", describe(a.x), describe(a.weight),
                  describe(a.y), describe(a.inverse_rms));
  require_residual_shapes(a);
}

inline void require_shapes(const RmsNormBackward& a) {
  ESPALIER_ASSERT(a.dy.rows == a.x.rows && a.dy.cols == a.x.cols && a.dx.rows == a.x.rows &&
                      a.dx.cols == a.x.cols && a.weight.cols == a.x.cols &&
                      a.d_weight.cols == a.x.cols && a.inverse_rms.cols == a.x.rows,
                  "dy {}, x {}, weight {}, dx {}, d_weight {}", describe(a.dy), describe(a.x),
                  describe(a.weight), describe(a.dx), describe(a.d_weight));
}

inline void require_shapes(const LayerNormForward& a) {
  ESPALIER_ASSERT(a.y.rows == a.x.rows && a.y.cols == a.x.cols && a.weight.cols == a.x.cols &&
                      a.bias.cols == a.x.cols && a.statistics.rows == 2 &&
                      a.statistics.cols == a.x.rows,
                  "x {}, weight {}, bias {}, y {}, statistics {}", describe(a.x),
                  describe(a.weight), describe(a.bias), describe(a.y), describe(a.statistics));
  require_residual_shapes(a);
}

inline void require_shapes(const LayerNormBackward& a) {
  ESPALIER_ASSERT(
      a.dy.rows == a.x.rows && a.dy.cols == a.x.cols && a.dx.rows == a.x.rows &&
          a.dx.cols == a.x.cols && a.weight.cols == a.x.cols && a.d_weight.cols == a.x.cols &&
          a.d_bias.cols == a.x.cols && a.statistics.rows == 2 && a.statistics.cols == a.x.rows,
      "dy {}, x {}, weight {}, dx {}, d_weight {}, d_bias {}", describe(a.dy), describe(a.x),
      describe(a.weight), describe(a.dx), describe(a.d_weight), describe(a.d_bias));
}

}  // namespace espalier::kernels
