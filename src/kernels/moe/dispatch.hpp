#pragma once
#include "device/context.hpp"
#include "device/view.hpp"
#include "kernels/cost.hpp"
#include "kernels/moe/router.hpp"

namespace espalier::kernels {

/// The pairs of a token and one of its experts, sorted by expert and, of one expert, by pair: pair
/// t*k + slot. A stable counting sort.
struct SortByExpert {
  device::ConstView experts;  ///< (T, k) i32, each in 0..E-1
  device::View order;         ///< (1, T*k) i32: sorted position -> pair
  device::View place;         ///< (T, k) i32: pair -> sorted position
  device::View counts;        ///< (1, E) i32: pairs of each expert
};
void sort_by_expert(device::Context& context, const SortByExpert& a);

/// How many of each sequence's pairs are an expert's; of all tokens when counts has one row.
/// Overwritten. Sequences of which the rank has no token get zeros.
struct CountChoices {
  device::ConstView experts;  ///< (T, k) i32
  TokenPlace place;
  device::View counts;  ///< (B, E) f32
};
void count_choices(device::Context& context, const CountChoices& a);

/// out[r] = in[index[r] / divisor]: with divisor k, a row of each token for each of its experts
/// (dispatch, and the gradient of combine).
struct GatherRows {
  device::ConstView in;     ///< (N, C) of any dtype of 2 or 4 bytes
  device::ConstView index;  ///< (1, R) i32, index / divisor in 0..N-1
  std::int64_t divisor = 1;
  device::View out;  ///< (R, C), the dtype of in
};
void gather_rows(device::Context& context, const GatherRows& a);

/// out[t] = sum over slots j of weights[t, j] * rows[place[t, j]] + add[t]: in slot order, in fp32,
/// rounded once. The gradient of dispatch is this without weights.
struct CombineRows {
  device::ConstView rows;     ///< (T*k, H)
  device::ConstView place;    ///< (T, k) i32
  device::ConstView weights;  ///< (T, k) f32; absent: 1
  device::ConstView add;      ///< (T, H); may be absent
  device::View out;           ///< (T, H), the dtype of rows; may alias add
};
void combine_rows(device::Context& context, const CombineRows& a);

inline Cost cost_of(const SortByExpert& a) {
  return {.bytes =
              bytes_of(a.experts) + bytes_of(a.order) + bytes_of(a.place) + bytes_of(a.counts)};
}

inline Cost cost_of(const CountChoices& a) {
  return {.flops = num_elements_of(a.experts), .bytes = bytes_of(a.experts) + bytes_of(a.counts)};
}

inline Cost cost_of(const GatherRows& a) {
  return {.bytes = 2.0 * bytes_of(a.out) + bytes_of(a.index)};
}

inline Cost cost_of(const CombineRows& a) {
  return {.flops = 2.0 * num_elements_of(a.place) * num_cols_of(a.out),
          .bytes = num_elements_of(a.place) * num_cols_of(a.out) *
                       static_cast<double>(size_of(a.rows.dtype)) +
                   bytes_of(a.place) + bytes_of(a.weights) + bytes_of(a.add) + bytes_of(a.out)};
}

}  // namespace espalier::kernels
