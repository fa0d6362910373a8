#include "kernels/embedding/positions.hpp"

#include "kernels/backends.hpp"
#include "kernels/cuda/pack.hpp"
#include "kernels/cuda/scatter_rows.hpp"
#include "kernels/cuda/tiling.hpp"
#include "kernels/dispatch.hpp"

namespace espalier::kernels::ESPALIER_GPU {
namespace {

/// A block per token. A position that the table does not have gives NaN: the loss shows it.
template <class T, int kCount>
ESPALIER_KERNEL(kMaxRowThreads)
add_row(Rows<T> x, Rows<const T> table, const std::int32_t* position_ids, std::int64_t num_rows,
        int width) {
  const std::int64_t t = block_index();
  const std::int32_t position = read_element(position_ids + t);
  const bool here = position >= 0 && position < num_rows;
  for_columns<kCount>(width, [&](int c, auto columns) {
    T* place = x.row(t) + c;
    auto sum = load<T>(place, columns);
    if (here)
      sum = sum + load(table.row(position) + c, columns);
    else
      sum = sum * NAN;
    store(place, sum);
  });
}

}  // namespace

void positions_forward(const Queue& queue, const PositionsForward& a) {
  ESPALIER_ASSERT(
      a.position_ids.cols == a.x.rows && a.table.cols == a.x.cols && a.table.dtype == a.x.dtype,
      "positions {}, table {}, x {}", describe(a.position_ids), describe(a.table), describe(a.x));
  dispatch(a.x.dtype, [&]<class T>(T) {
    with_width<kFullWidth<T>>(all_aligned(a.x, a.table), [&]<int kCount>(Columns<kCount>) {
      launch(add_row<T, kCount>, {a.x.rows, row_threads(a.x.cols, kCount)}, queue, rows_of<T>(a.x),
             rows_of<T>(a.table), a.position_ids.as<std::int32_t>(), a.table.rows,
             narrow<int>(a.x.cols));
    });
  });
}

void positions_backward(const Queue& queue, const PositionsBackward& a) {
  ESPALIER_ASSERT(a.position_ids.cols == a.dx.rows && a.d_table.cols == a.dx.cols,
                  "positions {}, dx {}, d_table {}", describe(a.position_ids), describe(a.dx),
                  describe(a.d_table));
  // A negative position is, without its sign, behind every table's end.
  const auto* rows = reinterpret_cast<const std::uint32_t*>(a.position_ids.as<std::int32_t>());
  add_rows_to_table(queue, a.d_table, a.dx, rows, 0);
}

}  // namespace espalier::kernels::ESPALIER_GPU
