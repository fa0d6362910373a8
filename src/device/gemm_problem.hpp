#pragma once
#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "device/gemm_engine.hpp"

namespace espalier::device {

/// A product of gemm_engine.hpp as a column-major BLAS sees it: C (m, n) = op(A) op(B) with sums
/// over k. Read by columns, a row-major matrix is its transpose, so that C^T = op(b)^T op(a)^T:
/// A is the engine's b, B its a, m runs along the columns of its c and n along the rows. The bias,
/// one number per column of c, runs along m.
///
/// Everything that an algorithm depends on: two products with equal problems may share one.
struct GemmProblem {
  std::int64_t m, n, k;
  std::int64_t lda, ldb, ldc;  ///< elements from a column to the next
  bool transpose_a, transpose_b;
  DType type_a, type_b, type_c;
  bool accumulate, has_bias;
  /// Bytes that the data of A, B and of C and bias together are aligned to, 16 at most: no kernel
  /// asks for more, and layers whose buffers lie differently share their algorithms.
  int alignment_a, alignment_b, alignment_c;
  bool operator==(const GemmProblem&) const = default;

  /// Of A and B as they lie in memory, columns by columns.
  std::int64_t rows_a() const { return transpose_a ? k : m; }
  std::int64_t cols_a() const { return transpose_a ? m : k; }
  std::int64_t rows_b() const { return transpose_b ? n : k; }
  std::int64_t cols_b() const { return transpose_b ? k : n; }
  /// Bytes that each matrix spans.
  std::int64_t bytes_a() const;
  std::int64_t bytes_b() const;
  std::int64_t bytes_c() const;
};

GemmProblem column_major_problem(const GemmOperand& c, const GemmOperand& a, const GemmOperand& b,
                                 bool accumulate, const void* bias);

struct GemmProblemHash {
  std::size_t operator()(const GemmProblem& p) const;
};

/// "4096 1024 2048 ld 4096 2048 4096 TN bfloat16 float32 accumulate bias align 16 16 16", and back.
/// The first dtype is that of A and B; where they differ, "float32xbfloat16" names both.
std::string describe(const GemmProblem& problem);
std::optional<GemmProblem> parse_gemm_problem(std::string_view text);

}  // namespace espalier::device
