#include "kernels/embedding.hpp"

#include "kernels/cuda/pack.hpp"
#include "kernels/cuda/tiling.hpp"
#include "kernels/dispatch.hpp"
#include "kernels/siblings.hpp"

namespace espalier::kernels::ESPALIER_GPU {
namespace {

template <class T, int kCount>
ESPALIER_KERNEL(kMaxRowThreads)
gather_row(Rows<T> out, Rows<const T> table, const std::uint32_t* tokens, std::int64_t first_row,
           std::int64_t num_rows, int width) {
  const std::int64_t t = block_index();
  const std::int64_t row = static_cast<std::int64_t>(tokens[t]) - first_row;
  const bool here = row >= 0 && row < num_rows;
  for_columns<kCount>(width, [&](int c, auto columns) {
    Pack<decltype(columns)::value> value{};
    if (here) value = load(table.row(row) + c, columns);
    store(out.row(t) + c, value);
  });
}

constexpr int kSortThreads = 256;

/// Sorts by id, then by place: a token's rank is the number of tokens before it. T^2 comparisons
/// from shared memory are little beside a model's step, and need neither passes nor scratch.
ESPALIER_KERNEL(kSortThreads)
rank_tokens(std::int32_t* order, const std::uint32_t* tokens, int num_tokens) {
  SharedAllocator shared;
  const auto others = shared.take<std::uint32_t>(kSortThreads);
  const int t = static_cast<int>(block_index()) * kSortThreads + thread_index();
  const std::uint32_t mine = t < num_tokens ? tokens[t] : 0;
  int rank = 0;
  for (int first = 0; first < num_tokens; first += kSortThreads) {
    if (first + thread_index() < num_tokens)
      others.set(thread_index(), tokens[first + thread_index()]);
    block_barrier();
    const int count = num_tokens - first < kSortThreads ? num_tokens - first : kSortThreads;
    for (int i = 0; i < count; ++i) {
      const std::uint32_t other = others.get(i);
      if (other < mine || (other == mine && first + i < t)) ++rank;
    }
    block_barrier();
  }
  if (t < num_tokens) order[rank] = t;
}

template <class T>
struct Scatter {
  Rows<float> d_table;
  Rows<const T> d_out;
  const std::uint32_t* tokens;
  const std::int32_t* order;
  std::int64_t first_row, num_rows;
  int num_tokens, width;
};

/// A block per place of the sorted order. The one at the beginning of a run of equal ids owns the
/// id's row and adds the run up in token order; the others have nothing to do.
template <class T, int kCount>
ESPALIER_KERNEL(kMaxRowThreads)
add_run(Scatter<T> a) {
  const int begin = static_cast<int>(block_index());
  const std::uint32_t id = a.tokens[a.order[begin]];
  if (begin > 0 && a.tokens[a.order[begin - 1]] == id) return;
  const std::int64_t row = static_cast<std::int64_t>(id) - a.first_row;
  if (row < 0 || row >= a.num_rows) return;
  int end = begin + 1;
  while (end < a.num_tokens && a.tokens[a.order[end]] == id) ++end;
  for_columns<kCount>(a.width, [&](int c, auto columns) {
    float* place = a.d_table.row(row) + c;
    auto sum = load(place, columns);
    for (int i = begin; i < end; ++i) sum = sum + load(a.d_out.row(a.order[i]) + c, columns);
    store(place, sum);
  });
}

}  // namespace

Cost embedding_forward(const Queue& queue, const EmbeddingForward& a) {
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
  return {.bytes = 2.0 * static_cast<double>(a.out.size_bytes()) +
                   4.0 * static_cast<double>(a.tokens.cols)};
}

Cost embedding_backward(const Queue& queue, const EmbeddingBackward& a) {
  ESPALIER_ASSERT(a.d_out.rows == a.tokens.cols && a.d_out.cols == a.d_table.cols &&
                      a.order.cols >= a.tokens.cols,
                  "tokens {}, d_out {}, d_table {}, order {}", describe(a.tokens),
                  describe(a.d_out), describe(a.d_table), describe(a.order));
  const auto* tokens = a.tokens.as<std::uint32_t>();
  auto* order = a.order.as<std::int32_t>();
  const int num_tokens = narrow<int>(a.tokens.cols);
  launch(rank_tokens,
         {.num_blocks = div_ceil(num_tokens, kSortThreads),
          .block_threads = kSortThreads,
          .shared_bytes = shared_bytes<std::uint32_t>(kSortThreads)},
         queue, order, tokens, num_tokens);
  dispatch(a.d_out.dtype, [&]<class T>(T) {
    with_width<kFullWidth<T>>(all_aligned(a.d_out, a.d_table), [&]<int kCount>(Columns<kCount>) {
      launch(add_run<T, kCount>,
             {.num_blocks = num_tokens, .block_threads = row_threads(a.d_out.cols, kCount)}, queue,
             {.d_table = rows_of<float>(a.d_table),
              .d_out = rows_of<T>(a.d_out),
              .tokens = tokens,
              .order = order,
              .first_row = a.first_row,
              .num_rows = a.d_table.rows,
              .num_tokens = num_tokens,
              .width = narrow<int>(a.d_out.cols)});
    });
  });
  // At most every token has a row of its own, which is read and written.
  const auto elements = static_cast<double>(a.d_out.size());
  return {.flops = elements,
          .bytes = static_cast<double>(a.d_out.size_bytes()) + 8.0 * elements +
                   8.0 * static_cast<double>(num_tokens)};
}

}  // namespace espalier::kernels::ESPALIER_GPU
