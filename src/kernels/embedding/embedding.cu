#include "kernels/embedding/embedding.hpp"

#include "kernels/backends.hpp"
#include "kernels/cuda/pack.hpp"
#include "kernels/cuda/scatter_rows.hpp"
#include "kernels/cuda/tiling.hpp"
#include "kernels/dispatch.hpp"

namespace espalier::kernels::ESPALIER_GPU {
namespace {

template <class T, int kCount>
ESPALIER_KERNEL(kMaxRowThreads)
gather_row(Rows<T> out, Rows<const T> table, const std::uint32_t* tokens, std::int64_t first_row,
           std::int64_t num_rows, int width) {
  const std::int64_t t = block_index();
  const std::int64_t row = static_cast<std::int64_t>(read_element(tokens + t)) - first_row;
  const bool here = row >= 0 && row < num_rows;
  for_columns<kCount>(width, [&](int c, auto columns) {
    Pack<decltype(columns)::value> value{};
    if (here) value = load(table.row(row) + c, columns);
    store(out.row(t) + c, value);
  });
}

}  // namespace

void embedding_forward(const Queue& queue, const EmbeddingForward& a) {
  ESPALIER_ASSERT(
      a.out.rows == a.tokens.cols && a.out.cols == a.table.cols && a.out.dtype == a.table.dtype,
      "tokens {}, table {}, out {}", describe(a.tokens), describe(a.table), describe(a.out));
  dispatch(a.out.dtype, [&]<class T>(T) {
    with_width<kFullWidth<T>>(all_aligned(a.out, a.table), [&]<int kCount>(Columns<kCount>) {
      launch(gather_row<T, kCount>,
             {.num_blocks = a.out.rows, .block_threads = row_threads(a.out.cols, kCount)}, queue,
             rows_of<T>(a.out), rows_of<T>(a.table), a.tokens.as<std::uint32_t>(), a.first_row,
             a.table.rows, narrow<int>(a.out.cols));
    });
  });
}

void embedding_backward(const Queue& queue, const EmbeddingBackward& a) {
  ESPALIER_ASSERT(a.d_out.rows == a.tokens.cols && a.d_out.cols == a.d_table.cols,
                  "tokens {}, d_out {}, d_table {}", describe(a.tokens), describe(a.d_out),
                  describe(a.d_table));
  add_rows_to_table(queue, a.d_table, a.d_out, a.tokens.as<std::uint32_t>(), a.first_row);
}

}  // namespace espalier::kernels::ESPALIER_GPU
