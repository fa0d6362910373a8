#pragma once
// What somebody has to know who has only a log of a GPU far away: where a result is wrong, by how
// much, and in which pattern.
#include <algorithm>
#include <cmath>
#include <string>
#include <vector>

#include "unit/kernels/support.hpp"

namespace espalier::testing {

/// Several lines: how many elements are off by more than `tolerance` (as worst_error measures) or
/// are no numbers, the worst, the first ones with what was found and expected, the rows and columns
/// that they are in, and a map of the matrix in which a letter stands for a tile: '.' right, '#'
/// wrong, '0' zero where it should not be, 'N' not finite where it should be.
template <class T>
std::string describe_difference(const Matrix<T>& got, const Matrix<T>& want, double tolerance,
                                double scale) {
  constexpr std::int64_t kFirst = 8, kMapRows = 24, kMapCols = 72;
  struct Element {
    std::int64_t row, col;
    double error;
  };
  // Powers of two, so that letters are a kernel's tiles or parts of them.
  std::int64_t tile_rows = 1, tile_cols = 1;
  while (got.rows() > kMapRows * tile_rows) tile_rows *= 2;
  while (got.cols() > kMapCols * tile_cols) tile_cols *= 2;
  const std::int64_t map_rows = (got.rows() + tile_rows - 1) / tile_rows;
  const std::int64_t map_cols = (got.cols() + tile_cols - 1) / tile_cols;
  std::vector<std::string> map(static_cast<std::size_t>(map_rows),
                               std::string(static_cast<std::size_t>(map_cols), '.'));
  std::vector<Element> first;
  std::int64_t num_wrong = 0, num_zero = 0, num_not_finite = 0;
  std::int64_t first_row = got.rows(), last_row = 0, first_col = got.cols(), last_col = 0;
  Element worst{0, 0, -1.0};
  for (std::int64_t r = 0; r < got.rows(); ++r)
    for (std::int64_t c = 0; c < got.cols(); ++c) {
      const double found = got(r, c), expected = want(r, c);
      double error = std::abs(found - expected) / (scale + std::abs(expected));
      if (error <= tolerance) continue;
      if (std::isnan(error)) error = INFINITY;
      ++num_wrong;
      char letter = '#';
      if (!std::isfinite(found)) {
        ++num_not_finite;
        letter = 'N';
      } else if (found == 0.0) {
        ++num_zero;
        letter = '0';
      }
      char& tile =
          map[static_cast<std::size_t>(r / tile_rows)][static_cast<std::size_t>(c / tile_cols)];
      tile = tile == '.' || tile == letter ? letter : '#';
      if (error > worst.error) worst = {r, c, error};
      if (static_cast<std::int64_t>(first.size()) < kFirst) first.push_back({r, c, error});
      first_row = std::min(first_row, r);
      last_row = std::max(last_row, r);
      first_col = std::min(first_col, c);
      last_col = std::max(last_col, c);
    }
  std::string text = fmt::format(
      "({}, {}) {}: {} of {} elements are off by more than {:.3g} x ({:.3g} + |expected|), {} of "
      "them not finite, {} zero; rows {} to {}, columns {} to {}",
      got.rows(), got.cols(), sizeof(T) == 2 ? "bf16" : "f32", num_wrong, got.rows() * got.cols(),
      tolerance, scale, num_not_finite, num_zero, first_row, last_row, first_col, last_col);
  if (num_wrong == 0) return text;
  const auto tell = [&](const char* which, const Element& e) {
    text += fmt::format("\n    {} ({}, {}): found {:.9g}, expected {:.9g}, error {:.3g}", which,
                        e.row, e.col, got(e.row, e.col), want(e.row, e.col), e.error);
  };
  tell("worst", worst);
  for (const Element& element : first) tell("first", element);
  text += fmt::format("\n    map, a letter for {} rows x {} columns:", tile_rows, tile_cols);
  for (const std::string& row : map) text += "\n      " + row;
  return text;
}

/// The first places whose bits differ, where all are within a tolerance or there is none.
template <class T>
std::string describe_other_bits(Matrix<T>& got, Matrix<T>& want) {
  std::int64_t num_other = 0;
  std::string text;
  for (std::int64_t r = 0; r < got.rows(); ++r)
    for (std::int64_t c = 0; c < got.cols(); ++c) {
      if (std::memcmp(&got.at(r, c), &want.at(r, c), sizeof(T)) == 0) continue;
      if (++num_other <= 4)
        text +=
            fmt::format("\n    ({}, {}): found {:a}, expected {:a}", r, c, got(r, c), want(r, c));
    }
  return fmt::format("{} of {} elements have other bits{}", num_other, got.rows() * got.cols(),
                     text);
}

}  // namespace espalier::testing
