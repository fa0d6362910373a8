#include "kernels/bias.hpp"

#include "kernels/backends.hpp"
#include "kernels/dispatch.hpp"

// Last: what follows is compiled for one SIMD level.
#include "base/simd/simd.hpp"
#include "kernels/row_sums.hpp"

namespace espalier::kernels::host::ESPALIER_SIMD {

void bias_backward(device::Context& context, const BiasBackward& a) {
  ESPALIER_ASSERT(a.d_bias.rows == 1 && a.d_bias.cols == a.dy.cols, "dy {}, d_bias {}",
                  describe(a.dy), describe(a.d_bias));
  dispatch(a.dy.dtype, [&]<class T>(T) {
    sum_over_row_slices(context, a.dy.rows, a.dy.cols, a.d_bias.as<float>(),
                        [&](std::int64_t begin, std::int64_t end, float* partial) {
                          for (std::int64_t t = begin; t < end; ++t) {
                            const T* dy = a.dy.as<T>(t);
                            simd::for_lanes(a.dy.cols, [&](std::int64_t c, auto lanes) {
                              simd::store(partial + c,
                                          simd::load(partial + c) + simd::load(dy + c, lanes));
                            });
                          }
                        });
  });
}

}  // namespace espalier::kernels::host::ESPALIER_SIMD
