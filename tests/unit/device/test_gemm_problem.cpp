#include <catch2/catch.hpp>
#include <cstdlib>
#include <vector>

#include "base/random.hpp"
#include "device/gemm_algorithm_cache.hpp"
#include "device/gemm_problem.hpp"
#include "support/scratch_folder.hpp"

namespace espalier::device {
namespace {

struct Matrix {
  std::int64_t rows, cols, stride;
  std::vector<float> values;
  Matrix(std::int64_t r, std::int64_t c, std::int64_t padding, std::string_view stream)
      : rows(r), cols(c), stride(c + padding), values(static_cast<std::size_t>(r * stride)) {
    RandomStream(1, stream).normal(values, 0, 1.0);
  }
  float at(std::int64_t r, std::int64_t c) const {
    return values[static_cast<std::size_t>(r * stride + c)];
  }
  GemmOperand operand(bool transposed = false) const {
    return {values.data(), DType::f32, rows, cols, stride, transposed};
  }
};

/// What a column-major BLAS does with the problem, by the textbook (A(i, j) is a[i + j * lda]).
void execute(const GemmProblem& p, const float* a, const float* b, float* c, const float* bias) {
  for (std::int64_t i = 0; i < p.m; ++i)
    for (std::int64_t j = 0; j < p.n; ++j) {
      float sum = p.accumulate ? c[i + j * p.ldc] : 0.0f;
      if (p.has_bias) sum += bias[i];
      for (std::int64_t l = 0; l < p.k; ++l)
        sum += (p.transpose_a ? a[l + i * p.lda] : a[i + l * p.lda]) *
               (p.transpose_b ? b[j + l * p.ldb] : b[l + j * p.ldb]);
      c[i + j * p.ldc] = sum;
    }
}

/// c (+)= op(a) op(b) (+ bias), once through the description and once as it is written.
void check(Matrix c, const Matrix& a, bool transpose_a, const Matrix& b, bool transpose_b,
           bool accumulate, const Matrix* bias) {
  const Matrix before = c;
  const float* bias_data = bias != nullptr ? bias->values.data() : nullptr;
  const GemmProblem p = column_major_problem(c.operand(), a.operand(transpose_a),
                                             b.operand(transpose_b), accumulate, bias_data);
  // The library refuses leading dimensions shorter than a column.
  CHECK(p.lda >= p.rows_a());
  CHECK(p.ldb >= p.rows_b());
  CHECK(p.ldc >= p.m);
  CHECK(p.bytes_a() <= static_cast<std::int64_t>(4 * b.values.size()));
  CHECK(p.bytes_b() <= static_cast<std::int64_t>(4 * a.values.size()));
  CHECK(p.bytes_c() <= static_cast<std::int64_t>(4 * c.values.size()));
  execute(p, b.values.data(), a.values.data(), c.values.data(), bias_data);
  const std::int64_t k = transpose_a ? a.rows : a.cols;
  for (std::int64_t i = 0; i < c.rows; ++i) {
    for (std::int64_t j = 0; j < c.cols; ++j) {
      double want = accumulate ? before.at(i, j) : 0.0;
      if (bias != nullptr) want += bias->at(0, j);
      for (std::int64_t l = 0; l < k; ++l)
        want += static_cast<double>(transpose_a ? a.at(l, i) : a.at(i, l)) *
                static_cast<double>(transpose_b ? b.at(j, l) : b.at(l, j));
      CHECK(c.at(i, j) == Approx(want).margin(1e-4));
    }
    for (std::int64_t gap = c.cols; gap < c.stride; ++gap)  // between rows nothing is written
      CHECK(c.at(i, gap) == before.at(i, gap));
  }
}

GemmProblem some_problem() {
  return {.m = 4096,
          .n = 1024,
          .k = 2048,
          .lda = 2048,
          .ldb = 2100,
          .ldc = 4100,
          .transpose_a = true,
          .transpose_b = false,
          .type_ab = DType::bf16,
          .type_c = DType::f32,
          .accumulate = true,
          .has_bias = false,
          .alignment_a = 16,
          .alignment_b = 8,
          .alignment_c = 4};
}

}  // namespace

TEST_CASE("row-major products are column-major ones with their operands swapped", "[gemm]") {
  for (const auto& [m, n, k] : std::vector<std::array<std::int64_t, 3>>{
           {5, 7, 3}, {1, 6, 4}, {6, 1, 4}, {4, 5, 1}, {1, 1, 1}, {1, 5, 1}})
    for (const std::int64_t padding : {0, 3})
      for (const bool accumulate : {false, true}) {
        CAPTURE(m, n, k, padding, accumulate);
        const Matrix x(m, k, padding, "x"), w(n, k, 2 * padding, "w"), dy(m, n, padding, "dy");
        const Matrix bias(1, n, 0, "bias");
        const Matrix y(m, n, padding, "y"), dx(m, k, padding, "dx"), dw(n, k, padding, "dw");
        check(y, x, false, w, true, accumulate, nullptr);
        check(y, x, false, w, true, accumulate, &bias);
        check(dx, dy, false, w, false, accumulate, nullptr);
        check(dw, dy, true, x, false, accumulate, nullptr);
      }
}

TEST_CASE("the stride of a single row says nothing", "[gemm]") {
  const float data[64] = {};
  const GemmOperand c{data, DType::f32, 1, 8, 3, false}, a{data, DType::f32, 1, 4, 0, false};
  const GemmOperand b{data, DType::f32, 8, 4, 4, true};
  const GemmProblem p = column_major_problem(c, a, b, false, nullptr);
  CHECK((p.ldb == 4 && p.ldc == 8));
}

TEST_CASE("a problem knows how its data are aligned", "[gemm]") {
  alignas(64) static const bf16 data[256] = {};
  const auto alignments = [](std::int64_t c, std::int64_t a, std::int64_t b, const void* bias) {
    const auto at = [](std::int64_t first) {
      return GemmOperand{data + first, DType::bf16, 4, 4, 8, false};
    };
    const GemmProblem p = column_major_problem(at(c), at(a), at(b), false, bias);
    return std::vector<int>{p.alignment_a, p.alignment_b, p.alignment_c};
  };
  CHECK(alignments(0, 0, 0, nullptr) == std::vector<int>{16, 16, 16});
  CHECK(alignments(4, 1, 2, nullptr) == std::vector<int>{4, 2, 8});
  CHECK(alignments(8, 16, 32, data + 1) == std::vector<int>{16, 16, 2});
}

TEST_CASE("problems are told apart, as text, too", "[gemm]") {
  const GemmProblem p = some_problem();
  CHECK(parse_gemm_problem(describe(p)) == p);
  GemmProblem other = p;
  other.has_bias = true;
  other.accumulate = false;
  other.transpose_b = true;
  other.type_c = DType::bf16;
  CHECK(parse_gemm_problem(describe(other)) == other);
  CHECK(describe(p) != describe(other));
  CHECK(GemmProblemHash{}(p) != GemmProblemHash{}(other));
  for (const std::string bad : {"", "1 2 3", "x",
                                "4 4 4 ld 4 4 4 XN float32 float32 replace plain "
                                "align 16 16 16"})
    CHECK_FALSE(parse_gemm_problem(bad));
  CHECK_FALSE(parse_gemm_problem(describe(p) + " 7"));
}

TEST_CASE("choices travel as text between equal GPUs, and to no others", "[gemm]") {
  GemmProblem other = some_problem();
  other.m = 64;
  const GemmAlgorithmCache::Algorithm first{1, 2, 3, 4, 5, 6, 7, ~std::uint64_t{0}}, second{9};
  GemmAlgorithmCache mine("NVIDIA H100", "cuBLASLt 13.0.2");
  mine.set(some_problem(), first);
  mine.set(other, second);
  GemmAlgorithmCache theirs("NVIDIA H100", "cuBLASLt 13.0.2");
  theirs.set(other, first);
  CHECK(theirs.adopt(mine.text()) == 2);
  CHECK(theirs.text() == mine.text());
  REQUIRE(theirs.find(other) != nullptr);
  CHECK(*theirs.find(other) == second);

  GemmAlgorithmCache elsewhere("NVIDIA B200", "cuBLASLt 13.0.2"),
      older("NVIDIA H100", "cuBLASLt 12.9.0");
  CHECK(elsewhere.adopt(mine.text()) == 0);
  CHECK(older.adopt(mine.text()) == 0);
  CHECK(older.adopt("") == 0);
  CHECK(older.size() == 0);

  // Lines that were cut or changed are left out.
  std::string damaged = mine.text();
  damaged.resize(damaged.size() - 9);
  GemmAlgorithmCache careful("NVIDIA H100", "cuBLASLt 13.0.2");
  CHECK(careful.adopt(damaged + "\nnonsense\n: \n") == 1);
}

TEST_CASE("choices are kept in a file, and a damaged file is no obstacle", "[gemm]") {
  const testing::ScratchFolder scratch;
  GemmAlgorithmCache one("NVIDIA H100 80GB HBM3", "cuBLASLt 13.0.2");
  ::setenv("XDG_CACHE_HOME", scratch.path().c_str(), 1);
  const auto file = one.cache_file();
  CHECK(file == scratch / "espalier/gemm-NVIDIA_H100_80GB_HBM3-cuBLASLt_13.0.2.txt");
  one.set(some_problem(), {1});
  one.save(file);
  GemmAlgorithmCache two("NVIDIA H100 80GB HBM3", "cuBLASLt 13.0.2");
  GemmProblem other = some_problem();
  other.k = 5;
  two.set(other, {2});
  two.save(file);  // adds to it
  GemmAlgorithmCache all("NVIDIA H100 80GB HBM3", "cuBLASLt 13.0.2");
  all.load(file);
  CHECK(all.size() == 2);
  CHECK(std::distance(std::filesystem::directory_iterator(file.parent_path()), {}) == 1);

  testing::write_file(file, "no choices at all");
  GemmAlgorithmCache none("NVIDIA H100 80GB HBM3", "cuBLASLt 13.0.2");
  none.load(file);
  none.load(scratch / "missing");
  CHECK(none.size() == 0);
  // Where nothing can be written, nothing happens.
  testing::write_file(scratch / "blocked", "");
  one.save(scratch / "blocked/espalier/gemm.txt");
  ::unsetenv("XDG_CACHE_HOME");
}

TEST_CASE("noise does not decide between equals", "[gemm]") {
  CHECK(choose_fastest(std::vector{1.01, 1.0, 0.995}) == 0);
  CHECK(choose_fastest(std::vector{1.05, 1.0, 0.99}) == 1);
  CHECK(choose_fastest(std::vector{0.0, 0.0, 3.0}) == 2);  // the others were not measured
  CHECK(choose_fastest(std::vector<double>{}) == -1);
  CHECK(choose_fastest(std::vector{0.0}) == -1);
}

}  // namespace espalier::device
