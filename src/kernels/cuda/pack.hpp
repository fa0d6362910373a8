#pragma once
// Neighbouring columns of a row as fp32 in registers: loaded and stored 16 bytes at a time.
#include <cstdint>
#include <cstring>
#include <type_traits>

#include "base/dtype.hpp"
#include "kernels/cuda/port.hpp"

namespace espalier::kernels::ESPALIER_GPU {

/// How many neighbouring columns an access touches.
template <int kCount>
using Columns = std::integral_constant<int, kCount>;

/// Columns of T in 16 bytes.
template <class T>
constexpr int kFullWidth = 16 / static_cast<int>(sizeof(T));

template <int kCount>
struct Pack {
  float at[kCount];

  template <class Function>
  ESPALIER_DEVICE Pack map(Function&& function) const {
    Pack result;
#pragma unroll
    for (int i = 0; i < kCount; ++i) result.at[i] = function(at[i]);
    return result;
  }
};

#define ESPALIER_PACK_OPERATOR(op)                                                   \
  template <int kCount>                                                              \
  ESPALIER_DEVICE Pack<kCount> operator op(Pack<kCount> a, const Pack<kCount>& b) {  \
    _Pragma("unroll") for (int i = 0; i < kCount; ++i) a.at[i] = a.at[i] op b.at[i]; \
    return a;                                                                        \
  }                                                                                  \
  template <int kCount>                                                              \
  ESPALIER_DEVICE Pack<kCount> operator op(Pack<kCount> a, float b) {                \
    _Pragma("unroll") for (int i = 0; i < kCount; ++i) a.at[i] = a.at[i] op b;       \
    return a;                                                                        \
  }
ESPALIER_PACK_OPERATOR(+)
ESPALIER_PACK_OPERATOR(-)
ESPALIER_PACK_OPERATOR(*)
#undef ESPALIER_PACK_OPERATOR

template <int kCount>
ESPALIER_DEVICE float sum_of(const Pack<kCount>& a) {
  float sum = a.at[0];
#pragma unroll
  for (int i = 1; i < kCount; ++i) sum += a.at[i];
  return sum;
}

ESPALIER_DEVICE float as_float(std::uint32_t bits) {
  float value;
  memcpy(&value, &bits, sizeof value);
  return value;
}
ESPALIER_DEVICE std::uint32_t as_bits(float value) {
  std::uint32_t bits;
  memcpy(&bits, &value, sizeof bits);
  return bits;
}
ESPALIER_DEVICE float to_float(float value) {
  return value;
}
ESPALIER_DEVICE float to_float(bf16 value) {
  return as_float(static_cast<std::uint32_t>(value.bits) << 16);
}
/// Rounded to T, to nearest even.
template <class T>
ESPALIER_DEVICE T from_float(float value) {
  if constexpr (std::is_same_v<T, bf16>)
    return rounded_bf16(value);
  else
    return value;
}

/// 32-bit words that kCount elements of T fill; 0: a single bf16, which fills none.
template <class T, int kCount>
constexpr int kNumWords = kCount* static_cast<int>(sizeof(T)) / 4;

template <class T, int kCount>
ESPALIER_DEVICE Pack<kCount> unpack(const Words<kNumWords<T, kCount>>& words) {
  Pack<kCount> pack;
#pragma unroll
  for (int i = 0; i < kNumWords<T, kCount>; ++i) {
    if constexpr (std::is_same_v<T, bf16>) {
      pack.at[2 * i] = as_float(words.at[i] << 16);
      pack.at[2 * i + 1] = as_float(words.at[i] & 0xFFFF0000u);
    } else {
      pack.at[i] = as_float(words.at[i]);
    }
  }
  return pack;
}
template <class T, int kCount>
ESPALIER_DEVICE Words<kNumWords<T, kCount>> packed(const Pack<kCount>& pack) {
  Words<kNumWords<T, kCount>> words;
#pragma unroll
  for (int i = 0; i < kNumWords<T, kCount>; ++i) {
    if constexpr (std::is_same_v<T, bf16>)
      words.at[i] = pair_of_bf16(pack.at[2 * i], pack.at[2 * i + 1]);
    else
      words.at[i] = as_bits(pack.at[i]);
  }
  return words;
}

/// kCount elements of T as they lie in memory: half the registers of a Pack where T is bf16.
template <class T, int kCount>
using Raw = std::conditional_t<kCount == 1, T, Words<kNumWords<T, kCount>>>;

/// Elements p[0 .. kCount). More than one element: p is aligned to min(16, their size) bytes.
template <class T, int kCount>
ESPALIER_DEVICE Raw<T, kCount> load_raw(const T* p, Columns<kCount>) {
  if constexpr (kCount == 1)
    return read_element(p);
  else
    return read_words<kNumWords<T, kCount>>(p);
}
template <class T, int kCount>
ESPALIER_DEVICE Pack<kCount> pack_of(const Raw<T, kCount>& raw) {
  if constexpr (kCount == 1)
    return {{to_float(raw)}};
  else
    return unpack<T, kCount>(raw);
}
template <class T, int kCount>
ESPALIER_DEVICE Pack<kCount> load(const T* p, Columns<kCount> columns) {
  return pack_of<T, kCount>(load_raw(p, columns));
}
template <class T, int kCount>
ESPALIER_DEVICE void store(T* p, const Pack<kCount>& pack) {
  if constexpr (kCount == 1)
    write_element(p, from_float<T>(pack.at[0]));
  else
    write_words(p, packed<T>(pack));
}
/// Elements i .. i + kCount of shared memory.
template <class T, int kCount>
ESPALIER_DEVICE Pack<kCount> load(const SharedArray<T>& array, int i, Columns<kCount>) {
  if constexpr (kCount == 1)
    return {{to_float(array.get(i))}};
  else
    return unpack<T, kCount>(array.template read_words<kNumWords<T, kCount>>(i));
}
template <class T, int kCount>
ESPALIER_DEVICE void store(const SharedArray<T>& array, int i, const Pack<kCount>& pack) {
  if constexpr (kCount == 1)
    array.set(i, from_float<T>(pack.at[0]));
  else
    array.write_words(i, packed<T>(pack));
}

/// The value after a store to T and a load.
template <class T, int kCount>
ESPALIER_DEVICE Pack<kCount> rounded_to(const Pack<kCount>& pack) {
  if constexpr (std::is_same_v<T, bf16> && kCount > 1)
    return unpack<T, kCount>(packed<T>(pack));
  else
    return pack.map([](float x) { return to_float(from_float<T>(x)); });
}

/// body(c, Columns<n>{}) over the columns of a row, shared among the threads of the block: kCount
/// at a time, what is left one by one. A thread meets the same columns in every loop of one width.
template <int kCount, class Body>
ESPALIER_DEVICE void for_columns(int width, Body&& body) {
  const int whole = width / kCount * kCount;
  for (int c = thread_index() * kCount; c < whole; c += num_threads() * kCount)
    body(c, Columns<kCount>{});
  if constexpr (kCount > 1) {
    if (thread_index() < num_tail_columns(width - whole))
      body(whole + thread_index(), Columns<1>{});
  }
}

}  // namespace espalier::kernels::ESPALIER_GPU
