#include "kernels/cuda/scatter_rows.hpp"

#include <utility>

#include "kernels/backends.hpp"
#include "kernels/cuda/pack.hpp"
#include "kernels/cuda/tiling.hpp"
#include "kernels/dispatch.hpp"

namespace espalier::kernels::ESPALIER_GPU {
namespace {

/// What is sorted: the table's row in the upper half, the place t in the lower. No two are equal,
/// so that any sort gives the one order in which equal ids keep theirs.
using Key = std::uint64_t;
/// The row of ids that the table does not hold; they come last.
constexpr std::uint32_t kAbsent = 0xFFFFFFFFu;

ESPALIER_DEVICE std::uint32_t row_of(Key key) {
  return static_cast<std::uint32_t>(key >> 32);
}

/// How many of the sorted keys first .. last - 1 are below `key`.
ESPALIER_DEVICE int count_below(const Key* keys, int first, int last, Key key) {
  const int begin = first;
  while (first < last) {
    const int middle = first + (last - first) / 2;
    if (read_element(keys + middle) < key)
      first = middle + 1;
    else
      last = middle;
  }
  return first - begin;
}

/// The end of the run of `row` that begins at `begin`. Most runs are short: the search looks 1, 2,
/// 4 ... keys ahead before it halves.
ESPALIER_DEVICE int end_of_run(const Key* keys, int begin, int count, std::uint32_t row) {
  int ahead = 1;
  while (begin + ahead < count && row_of(read_element(keys + begin + ahead)) == row) ahead *= 2;
  const int known = begin + ahead / 2;
  const int end = begin + ahead < count ? begin + ahead : count;
  return known + count_below(keys, known, end, (static_cast<Key>(row) + 1) << 32);
}

/// Threads of the sort's kernels, and keys of the first sorted runs.
constexpr int kSortThreads = 256;

/// Sorts kSortThreads keys: a key's place is the number of keys below it.
ESPALIER_KERNEL(kSortThreads)
sort_run(Key* sorted, const std::uint32_t* ids, std::int64_t first_row, std::int64_t num_rows,
         int count) {
  SharedAllocator shared;
  const auto keys = shared.take<Key>(kSortThreads);
  const int first = static_cast<int>(block_index()) * kSortThreads;
  const int t = first + thread_index();
  Key mine = 0;
  if (t < count) {
    const std::int64_t row = static_cast<std::int64_t>(read_element(ids + t)) - first_row;
    const bool here = row >= 0 && row < num_rows;
    mine = static_cast<Key>(here ? static_cast<std::uint32_t>(row) : kAbsent) << 32 |
           static_cast<Key>(t);
    keys.set(thread_index(), mine);
  }
  block_barrier();
  if (t >= count) return;
  const int num_keys =
      num_tail_columns(count - first < kSortThreads ? count - first : kSortThreads);
  int place = 0;
  for (int i = 0; i < num_keys; ++i)
    if (keys.get(i) < mine) ++place;
  write_element(sorted + first + place, mine);
}

/// Merges neighbouring sorted runs: a key's place is its own in its run, and the number of keys
/// below it in the other.
ESPALIER_KERNEL(kSortThreads)
merge_runs(Key* sorted, const Key* runs, int run_length, int count) {
  const int i = static_cast<int>(block_index()) * kSortThreads + thread_index();
  if (i >= count) return;
  const int run = i / run_length;
  const int pair = (run & ~1) * run_length;
  const int other = (run ^ 1) * run_length;
  const int end = count - other < run_length ? count : other + run_length;
  const Key mine = read_element(runs + i);
  write_element(sorted + pair + i - run * run_length + count_below(runs, other, end, mine), mine);
}

template <class T>
struct AddRuns {
  Rows<float> d_table;
  Rows<const T> d_rows;
  const Key* keys;
  int count, width;
};

/// A block per place of the sorted order. The one at the beginning of a run of equal ids owns the
/// id's row; the others have nothing to do.
template <class T, int kCount>
ESPALIER_KERNEL(kMaxRowThreads)
add_run(AddRuns<T> a) {
  const int begin = static_cast<int>(block_index());
  const std::uint32_t row = row_of(read_element(a.keys + begin));
  if (row == kAbsent || (begin > 0 && row_of(read_element(a.keys + begin - 1)) == row)) return;
  const int end = end_of_run(a.keys, begin, a.count, row);
  for_columns<kCount>(a.width, [&](int c, auto columns) {
    float* place = a.d_table.row(row) + c;
    auto sum = load(place, columns);
#pragma unroll 4
    for (int i = begin; i < end; ++i) {
      const auto t = static_cast<std::uint32_t>(read_element(a.keys + i));
      sum = sum + load(a.d_rows.row(t) + c, columns);
    }
    store(place, sum);
  });
}

/// The keys in order, somewhere in the workspace.
const Key* sorted_keys(const Queue& queue, const std::uint32_t* ids, std::int64_t first_row,
                       std::int64_t num_rows, int count) {
  static_assert(2 * sizeof(Key) == kSortElements * sizeof(float));
  auto* keys = workspace<Key>(queue, std::int64_t{2} * count);
  auto* other = keys + count;
  const std::int64_t num_blocks = div_ceil(count, kSortThreads);
  launch(sort_run, {num_blocks, kSortThreads, shared_bytes<Key>(kSortThreads)}, queue, keys, ids,
         first_row, num_rows, count);
  for (std::int64_t length = kSortThreads; length < count; length *= 2) {
    launch(merge_runs, {num_blocks, kSortThreads}, queue, other, static_cast<const Key*>(keys),
           narrow<int>(length), count);
    std::swap(keys, other);
  }
  return keys;
}

}  // namespace

void add_rows_to_table(const Queue& queue, const device::View& d_table,
                       const device::ConstView& d_rows, const std::uint32_t* ids,
                       std::int64_t first_row) {
  const int count = narrow<int>(d_rows.rows);
  const Key* keys = sorted_keys(queue, ids, first_row, d_table.rows, count);
  dispatch(d_rows.dtype, [&]<class T>(T) {
    // The table's columns fill 16 bytes: most of what is moved is its rows, in fp32.
    with_width<kFullWidth<float>>(all_aligned(d_rows, d_table), [&]<int kCount>(Columns<kCount>) {
      launch(add_run<T, kCount>, {count, row_threads(d_rows.cols, kCount)}, queue,
             {.d_table = rows_of<float>(d_table),
              .d_rows = rows_of<T>(d_rows),
              .keys = keys,
              .count = count,
              .width = narrow<int>(d_rows.cols)});
    });
  });
}

}  // namespace espalier::kernels::ESPALIER_GPU
