#include "device/gemm_problem.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <functional>
#include <sstream>

namespace espalier::device {
namespace {

constexpr int kLargestAlignment = 16;

int alignment_of(const void* data) {
  const auto address = reinterpret_cast<std::uintptr_t>(data) | kLargestAlignment;
  return static_cast<int>(address & (~address + 1));
}

/// The stride of a single row is never used, and libraries want it at least as large as the row.
std::int64_t leading_dimension(const GemmOperand& o) {
  return o.rows > 1 ? o.stride : o.cols;
}

std::int64_t span_bytes(std::int64_t rows, std::int64_t cols, std::int64_t ld, DType dtype) {
  return ((cols - 1) * ld + rows) * static_cast<std::int64_t>(size_of(dtype));
}

constexpr char kBetweenTypes = 'x';

std::string operand_types(const GemmProblem& p) {
  std::string text(name_of(p.type_a));
  if (p.type_b != p.type_a) text += kBetweenTypes + std::string(name_of(p.type_b));
  return text;
}

std::optional<DType> dtype_named(const std::string& name) {
  for (const DType dtype : {DType::f32, DType::bf16})
    if (name == name_of(dtype)) return dtype;
  return std::nullopt;
}

}  // namespace

std::int64_t GemmProblem::bytes_a() const {
  return span_bytes(rows_a(), cols_a(), lda, type_a);
}
std::int64_t GemmProblem::bytes_b() const {
  return span_bytes(rows_b(), cols_b(), ldb, type_b);
}
std::int64_t GemmProblem::bytes_c() const {
  return span_bytes(m, n, ldc, type_c);
}

GemmProblem column_major_problem(const GemmOperand& c, const GemmOperand& a, const GemmOperand& b,
                                 bool accumulate, const void* bias) {
  for (const DType dtype : {c.dtype, a.dtype, b.dtype})
    ESPALIER_ASSERT(dtype == DType::f32 || dtype == DType::bf16, "GEMM on {}", name_of(dtype));
  return {.m = c.cols,
          .n = c.rows,
          .k = a.transposed ? a.rows : a.cols,
          .lda = leading_dimension(b),
          .ldb = leading_dimension(a),
          .ldc = leading_dimension(c),
          .transpose_a = b.transposed,
          .transpose_b = a.transposed,
          .type_a = b.dtype,
          .type_b = a.dtype,
          .type_c = c.dtype,
          .accumulate = accumulate,
          .has_bias = bias != nullptr,
          .alignment_a = alignment_of(b.data),
          .alignment_b = alignment_of(a.data),
          .alignment_c = std::min(alignment_of(c.data), alignment_of(bias))};
}

std::size_t GemmProblemHash::operator()(const GemmProblem& p) const {
  std::size_t hash = 0;
  const auto mix = [&hash](std::int64_t value) {
    hash = (hash ^ std::hash<std::int64_t>{}(value)) * 0x9E3779B97F4A7C15u;
    hash ^= hash >> 29;
  };
  for (const std::int64_t value : {p.m, p.n, p.k, p.lda, p.ldb, p.ldc}) mix(value);
  mix(static_cast<std::int64_t>(p.type_a) * 1024 + static_cast<std::int64_t>(p.type_b) * 128 +
      static_cast<std::int64_t>(p.type_c) * 16 + p.transpose_a * 8 + p.transpose_b * 4 +
      p.accumulate * 2 + p.has_bias);
  mix(p.alignment_a * 4096 + p.alignment_b * 64 + p.alignment_c);
  return hash;
}

std::string describe(const GemmProblem& p) {
  return fmt::format("{} {} {} ld {} {} {} {}{} {} {} {} {} align {} {} {}", p.m, p.n, p.k, p.lda,
                     p.ldb, p.ldc, p.transpose_a ? 'T' : 'N', p.transpose_b ? 'T' : 'N',
                     operand_types(p), name_of(p.type_c), p.accumulate ? "accumulate" : "replace",
                     p.has_bias ? "bias" : "plain", p.alignment_a, p.alignment_b, p.alignment_c);
}

std::optional<GemmProblem> parse_gemm_problem(std::string_view text) {
  std::istringstream in{std::string(text)};
  GemmProblem p{};
  std::string ld, transposes, types, type_c, output, bias, align, rest;
  in >> p.m >> p.n >> p.k >> ld >> p.lda >> p.ldb >> p.ldc >> transposes >> types >> type_c >>
      output >> bias >> align >> p.alignment_a >> p.alignment_b >> p.alignment_c;
  if (!in || in >> rest) return std::nullopt;
  const auto both = types.find(kBetweenTypes);
  const auto a = dtype_named(types.substr(0, both)), c = dtype_named(type_c);
  const auto b = both == std::string::npos ? a : dtype_named(types.substr(both + 1));
  if (!a || !b || !c || transposes.size() != 2) return std::nullopt;
  p.type_a = *a;
  p.type_b = *b;
  p.type_c = *c;
  p.transpose_a = transposes[0] == 'T';
  p.transpose_b = transposes[1] == 'T';
  p.accumulate = output == "accumulate";
  p.has_bias = bias == "bias";
  // Whatever was not understood comes out differently.
  if (describe(p) != text) return std::nullopt;
  return p;
}

}  // namespace espalier::device
