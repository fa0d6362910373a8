#pragma once
#include <algorithm>

#include "base/error.hpp"
#include "kernels/moe/grouped_product.hpp"

namespace espalier::kernels {

/// What every backend asks of the views of a grouped product.
inline void check_groups(std::span<const std::int64_t> offsets, std::int64_t num_rows,
                         std::int64_t rows_of_w, std::int64_t n) {
  const auto num_groups = static_cast<std::int64_t>(offsets.size()) - 1;
  ESPALIER_ASSERT(num_groups >= 0 && offsets.front() == 0 && offsets.back() == num_rows &&
                      std::is_sorted(offsets.begin(), offsets.end()) && rows_of_w == num_groups * n,
                  "{} groups of {} rows, weights of {} rows, {} each", num_groups, num_rows,
                  rows_of_w, n);
}

inline void check_shapes(const GroupedForward& a) {
  ESPALIER_ASSERT(a.y.rows == a.x.rows && a.x.cols == a.w.cols && a.x.dtype == a.w.dtype &&
                      a.y.dtype == a.x.dtype,
                  "y {} = x {} w^T {}", describe(a.y), describe(a.x), describe(a.w));
  check_groups(a.offsets, a.x.rows, a.w.rows, a.y.cols);
}

inline void check_shapes(const GroupedBackwardInput& a) {
  ESPALIER_ASSERT(a.dx.rows == a.dy.rows && a.dx.cols == a.w.cols && a.dy.dtype == a.w.dtype &&
                      a.dx.dtype == a.dy.dtype,
                  "dx {} = dy {} w {}", describe(a.dx), describe(a.dy), describe(a.w));
  check_groups(a.offsets, a.dy.rows, a.w.rows, a.dy.cols);
}

inline void check_shapes(const GroupedBackwardWeight& a) {
  ESPALIER_ASSERT(a.dy.rows == a.x.rows && a.dw.cols == a.x.cols && a.dy.dtype == a.x.dtype &&
                      a.dw.dtype == DType::f32,
                  "dw {} = dy^T {} x {}", describe(a.dw), describe(a.dy), describe(a.x));
  check_groups(a.offsets, a.dy.rows, a.dw.rows, a.dy.cols);
}

}  // namespace espalier::kernels
