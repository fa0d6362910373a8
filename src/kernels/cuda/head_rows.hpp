#pragma once
// Head rows in registers: a few neighbouring lanes hold one row of head_dim columns. A lane holds
// columns i and i + D/2 alike, so that RoPE's pairs never leave it and no shared memory is needed.
#include "kernels/cuda/pack.hpp"
#include "kernels/cuda/threads.hpp"

namespace espalier::kernels::ESPALIER_GPU {

/// Threads of a block that works on head rows.
constexpr int kHeadThreads = 128;
/// The largest head_dim that the scalar form holds.
constexpr int kMaxHeadDim = 256;

/// How lanes share a row: `group` lanes, each with `passes` times `count` columns of each half.
template <int kCount_, int kGroup_, int kPasses_>
struct HeadForm {
  static constexpr int kCount = kCount_;
  static constexpr int kGroup = kGroup_;
  static constexpr int kPasses = kPasses_;
  static constexpr int kGroupsPerBlock = kHeadThreads / kGroup;
};

/// One half of a head row, as much as a lane holds.
template <class Form>
struct HalfRow {
  Pack<Form::kCount> pass[Form::kPasses];
};

/// The lane's first column of pass `p`; both halves count from 0.
template <class Form>
ESPALIER_DEVICE int half_column(int p) {
  return (p * Form::kGroup + thread_index() % Form::kGroup) * Form::kCount;
}

/// body(p, i) for the lane's passes that lie inside a half row.
template <class Form, class Body>
ESPALIER_DEVICE void for_passes(int half, Body&& body) {
#pragma unroll
  for (int p = 0; p < Form::kPasses; ++p) {
    const int i = half_column<Form>(p);
    if (i < half) body(p, i);
  }
}

/// body(HeadForm) with the form for head_dim: vectors, as many lanes as a half row has vectors; or
/// scalars, where rows are not aligned or vectors do not divide a half row.
template <int kWidth, class Body>
void with_head_form(bool aligned, int head_dim, Body&& body) {
  const int half = head_dim / 2;
  if (!aligned || half % kWidth != 0)
    body(HeadForm<1, kWarpSize, kMaxHeadDim / 2 / kWarpSize>{});
  else if (half <= 4 * kWidth)
    body(HeadForm<kWidth, 4, 1>{});
  else if (half <= 8 * kWidth)
    body(HeadForm<kWidth, 8, 1>{});
  else if (half <= 16 * kWidth)
    body(HeadForm<kWidth, 16, 1>{});
  else
    body(HeadForm<kWidth, 32, 1>{});
}

}  // namespace espalier::kernels::ESPALIER_GPU
