#pragma once
// Rows that a block looks at more than once. A thread meets the same columns in every loop over a
// row: what it needs of them again stays in its registers, as long as these are few.
#include "kernels/cuda/pack.hpp"

namespace espalier::kernels::ESPALIER_GPU {

/// Packs of a row that a thread has, at most, where blocks have row_threads(width, count) threads
/// and the row is not too wide for them. kNotKept: it is; rows are then read again, and sums stay
/// in shared memory.
constexpr int kKeptPacks = 2;
constexpr int kNotKept = 0;

/// A thread's columns of a row: whole packs, and a column behind the last whole pack of the row.
template <int kCount, int kPacks>
class OwnColumns {
 public:
  template <int n>
  ESPALIER_DEVICE Pack<n>& at(int p, Columns<n>) {
    if constexpr (n == kCount)
      return packs_[p];
    else
      return tail_;
  }

 private:
  Pack<kCount> packs_[kPacks] = {};
  Pack<1> tail_ = {};
};

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

/// A row of device memory that is looked at twice.
template <int kCount, int kPacks>
class KeptRow {
 public:
  template <class T, int n>
  ESPALIER_DEVICE Pack<n> first_look(int p, const T* place, Columns<n> columns) {
    const auto pack = load(place, columns);
    kept_.at(p, columns) = pack;
    return pack;
  }
  template <class T, int n>
  ESPALIER_DEVICE Pack<n> look_again(int p, const T*, Columns<n> columns) {
    return kept_.at(p, columns);
  }

 private:
  OwnColumns<kCount, kPacks> kept_;
};
template <int kCount>
class KeptRow<kCount, kNotKept> {
 public:
  template <class T, int n>
  ESPALIER_DEVICE Pack<n> first_look(int, const T* place, Columns<n> columns) {
    return load(place, columns);
  }
  template <class T, int n>
  ESPALIER_DEVICE Pack<n> look_again(int, const T* place, Columns<n> columns) {
    return load(place, columns);
  }
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
  OwnColumns<kCount, kPacks> sums_;
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
