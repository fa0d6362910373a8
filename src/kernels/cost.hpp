#pragma once
// What a call of an operator must do at least, whatever the kernel and wherever it runs: the floor
// that its time is measured against. Each contract ends with its cost_of. Bytes count every operand
// once, read or written; what a kernel reads twice or recomputes is not counted. Vectors that all
// rows share are left out where rows are many.
#include <algorithm>

#include "device/view.hpp"

namespace espalier::kernels {

struct Cost {
  double flops = 0.0;
  double bytes = 0.0;
};

inline double num_elements_of(const device::ConstView& view) {
  return static_cast<double>(view.size());
}
inline double num_rows_of(const device::ConstView& view) {
  return static_cast<double>(view.rows);
}
inline double num_cols_of(const device::ConstView& view) {
  return static_cast<double>(view.cols);
}
inline double bytes_of(const device::ConstView& view) {
  return static_cast<double>(view.size_bytes());
}

/// Of rows that are added to rows of a table: at most each has a row of the table of its own, which
/// is read and written.
inline double bytes_of_scatter(const device::ConstView& d_table, const device::ConstView& d_rows) {
  return bytes_of(d_rows) + 4.0 * num_rows_of(d_rows) +
         8.0 * std::min(num_rows_of(d_rows), num_rows_of(d_table)) * num_cols_of(d_table);
}

}  // namespace espalier::kernels
