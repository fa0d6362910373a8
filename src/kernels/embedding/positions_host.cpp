#include "kernels/embedding/positions.hpp"

#include "base/host_loops.hpp"
#include "kernels/backends.hpp"
#include "kernels/dispatch.hpp"

// Last: what follows is compiled for one SIMD level.
#include "base/simd/simd.hpp"

namespace espalier::kernels::host::ESPALIER_SIMD {
namespace {

/// The table's row of each token; an error inside the loop over threads could not be caught.
const std::int32_t* checked(const device::ConstView& position_ids, std::int64_t rows) {
  const auto* row = position_ids.as<std::int32_t>();
  for (std::int64_t t = 0; t < position_ids.cols; ++t)
    ESPALIER_ASSERT(0 <= row[t] && row[t] < rows, "position {} of {}", row[t], rows);
  return row;
}

}  // namespace

void positions_forward(device::Context&, const PositionsForward& a) {
  ESPALIER_ASSERT(
      a.position_ids.cols == a.x.rows && a.table.cols == a.x.cols && a.table.dtype == a.x.dtype,
      "positions {}, table {}, x {}", describe(a.position_ids), describe(a.table), describe(a.x));
  const std::int32_t* rows = checked(a.position_ids, a.table.rows);
  dispatch(a.x.dtype, [&]<class T>(T) {
    host_for_ranges(a.x.rows, 1, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t t = begin; t < end; ++t) {
        const T* row = a.table.as<T>(rows[t]);
        T* x = a.x.as<T>(t);
        simd::for_lanes(a.x.cols, [&](std::int64_t c, auto lanes) {
          simd::store(x + c, simd::load(x + c, lanes) + simd::load(row + c, lanes), lanes);
        });
      }
    });
  });
}

void positions_backward(device::Context&, const PositionsBackward& a) {
  ESPALIER_ASSERT(a.position_ids.cols == a.dx.rows && a.d_table.cols == a.dx.cols,
                  "positions {}, dx {}, d_table {}", describe(a.position_ids), describe(a.dx),
                  describe(a.d_table));
  const std::int32_t* rows = checked(a.position_ids, a.d_table.rows);
  dispatch(a.dx.dtype, [&]<class T>(T) {
    host_for_ranges(a.dx.cols, simd::kLanes, [&](std::int64_t begin, std::int64_t end) {
      for (std::int64_t t = 0; t < a.dx.rows; ++t) {
        const T* dx = a.dx.as<T>(t) + begin;
        float* row = a.d_table.as<float>(rows[t]) + begin;
        simd::for_lanes(end - begin, [&](std::int64_t c, auto lanes) {
          simd::store(row + c, simd::load(row + c, lanes) + simd::load(dx + c, lanes), lanes);
        });
      }
    });
  });
}

}  // namespace espalier::kernels::host::ESPALIER_SIMD
