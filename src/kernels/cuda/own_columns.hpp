#pragma once
// Rows that a block looks at more than once. A thread meets the same columns in every loop over a
// row: what it needs of them again stays in its registers, as long as these are few.
#include "kernels/cuda/pack.hpp"
#include "kernels/cuda/tiling.hpp"

namespace espalier::kernels::ESPALIER_GPU {

/// Packs of a row that a thread has, at most, where blocks have row_threads(width, count) threads
/// and the row is not too wide for them. kNotKept: it is; rows are then read again, and sums stay
/// in shared memory.
constexpr int kKeptPacks = kRowVectors;
constexpr int kNotKept = 0;

/// body(p, c, Columns<n>{}) as in for_columns, for the thread's pack number p.
template <int kCount, int kPacks, class Body>
ESPALIER_DEVICE void for_own_columns(int width, Body&& body) {
  if constexpr (kPacks == kNotKept) {
    for_columns<kCount>(width, [&](int c, auto columns) { body(0, c, columns); });
  } else {
    const int whole = width / kCount * kCount;
#pragma unroll
    for (int p = 0; p < kPacks; ++p) {
      const int c = (p * num_threads() + thread_index()) * kCount;
      if (c < whole) body(p, c, Columns<kCount>{});
    }
    if constexpr (kCount > 1) {
      if (thread_index() < num_tail_columns(width - whole))
        body(0, whole + thread_index(), Columns<1>{});
    }
  }
}

/// What a thread knows of its columns: of whole packs, and of a column behind the last of them.
template <class Vector, class Single, int kPacks>
struct OwnColumns {
  template <int n>
  ESPALIER_DEVICE auto& at(int p, Columns<n>) {
    if constexpr (n == 1)
      return single;
    else
      return whole[p];
  }

  Vector whole[kPacks] = {};
  Single single = {};
};
template <class Single, int kPacks>
struct OwnColumns<Single, Single, kPacks> {
  ESPALIER_DEVICE Single& at(int p, Columns<1>) { return whole[p]; }

  Single whole[kPacks] = {};
};

/// A row of device memory that is looked at more than once.
template <class T, int kCount, int kPacks>
class KeptRow {
 public:
  /// Asks for what look will want, ahead of it: where nothing is kept, it asks itself.
  template <int n>
  ESPALIER_DEVICE void ask(int p, const T* place, Columns<n> columns) {
    if constexpr (kPacks != kNotKept) kept_.at(p, columns) = load_raw(place, columns);
  }
  template <int n>
  ESPALIER_DEVICE Pack<n> look(int p, const T* place, Columns<n> columns) {
    if constexpr (kPacks == kNotKept)
      return load(place, columns);
    else
      return pack_of<T, n>(kept_.at(p, columns));
  }

 private:
  OwnColumns<Raw<T, kCount>, T, kPacks == kNotKept ? 1 : kPacks> kept_;
};

/// Sums over rows of a thread's own columns, from zero on.
template <int kCount, int kPacks>
class ColumnSums {
 public:
  static constexpr std::int64_t shared_elements(std::int64_t) { return 0; }

  ESPALIER_DEVICE ColumnSums(SharedAllocator&, int) {}
  template <int n>
  ESPALIER_DEVICE void add(int p, int, const Pack<n>& x) {
    auto& sum = sums_.at(p, Columns<n>{});
    sum = sum + x;
  }
  template <int n>
  ESPALIER_DEVICE Pack<n> sum(int p, int, Columns<n> columns) {
    return sums_.at(p, columns);
  }

 private:
  OwnColumns<Pack<kCount>, Pack<1>, kPacks> sums_;
};
template <int kCount>
class ColumnSums<kCount, kNotKept> {
 public:
  /// On the host: floats that sums of a row take in shared memory.
  static constexpr std::int64_t shared_elements(std::int64_t width) { return width; }

  ESPALIER_DEVICE ColumnSums(SharedAllocator& shared, int width)
      : sums_(shared.take<float>(width)) {
    for_columns<kCount>(
        width, [&](int c, auto columns) { store(sums_, c, Pack<decltype(columns)::value>{}); });
  }
  template <int n>
  ESPALIER_DEVICE void add(int, int c, const Pack<n>& x) {
    store(sums_, c, load(sums_, c, Columns<n>{}) + x);
  }
  template <int n>
  ESPALIER_DEVICE Pack<n> sum(int, int c, Columns<n> columns) {
    return load(sums_, c, columns);
  }

 private:
  SharedArray<float> sums_;
};

template <int kPacks>
using KeptPacks = std::integral_constant<int, kPacks>;

/// body(KeptPacks<n>{}) for blocks of `threads` threads and rows of `width` columns.
template <int kCount, class Body>
void with_kept_packs(std::int64_t width, int threads, Body&& body) {
  if (width / kCount <= std::int64_t{kKeptPacks} * threads)
    body(KeptPacks<kKeptPacks>{});
  else
    body(KeptPacks<kNotKept>{});
}

}  // namespace espalier::kernels::ESPALIER_GPU
