#pragma once
// What the tests of memory traffic ask operators for.
#include <cstdlib>

#include "cases.hpp"
#include "kernels/attention/attention_shapes.hpp"

namespace espalier::testing {

constexpr std::int64_t kHeadDim = 128;

/// Matrices begin at multiples of 256 bytes, as the arena's do.
class AlignedMatrices {
 public:
  AlignedMatrices() {
    matrix_memory().allocate = [](std::size_t bytes) {
      return std::aligned_alloc(256, (bytes + 255) / 256 * 256);
    };
  }
  ~AlignedMatrices() { matrix_memory().allocate = std::malloc; }
};

/// (rows, cols) drawn from the stream of that name.
inline Matrix<bf16> numbers(const char* stream, std::int64_t rows, std::int64_t cols) {
  Matrix<bf16> matrix(rows, cols);
  matrix.randomize(stream);
  return matrix;
}

/// One sequence, two query heads and the kv head that they share.
struct Attention {
  static constexpr std::int64_t kQ = 2, kKv = 1;

  explicit Attention(std::int64_t length)
      : shape{.batch = 1,
              .query_length = length,
              .kv_length = length,
              .num_q_heads = kQ,
              .num_kv_heads = kKv,
              .head_dim = kHeadDim},
        q(numbers("q", length, kQ * kHeadDim)),
        k(numbers("k", length, kHeadDim)),
        v(numbers("v", length, kHeadDim)),
        d_o(numbers("d_o", length, kQ * kHeadDim)),
        o(length, kQ * kHeadDim),
        d_q(length, kQ * kHeadDim),
        d_k(length, kHeadDim),
        d_v(length, kHeadDim),
        lse(kQ, length),
        scratch(1, kernels::attention_backward_scratch_elements(shape)) {}

  kernels::AttentionForward forward(const device::ConstView& document_start = {}) {
    return {.shape = shape,
            .q = q.view(),
            .k = k.view(),
            .v = v.view(),
            .o = o.view(),
            .lse = lse.view(),
            .document_start = document_start};
  }
  kernels::AttentionBackward backward(const device::ConstView& document_start = {}) {
    return {.shape = shape,
            .q = q.view(),
            .k = k.view(),
            .v = v.view(),
            .o = o.view(),
            .lse = lse.view(),
            .d_o = d_o.view(),
            .d_q = d_q.view(),
            .d_k = d_k.view(),
            .d_v = d_v.view(),
            .scratch = scratch.view(),
            .document_start = document_start};
  }

  kernels::AttentionShape shape;
  Matrix<bf16> q, k, v, d_o, o, d_q, d_k, d_v;
  Matrix<float> lse, scratch;
};

}  // namespace espalier::testing
