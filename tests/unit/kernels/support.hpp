#pragma once
// Matrices for operator tests: values are kept in the dtype under test, with padding columns
// between rows that must stay as they were, and references read them as doubles.
#include <fmt/core.h>

#include <catch2/catch.hpp>
#include <cmath>
#include <cstdlib>
#include <cstring>
#include <limits>
#include <new>
#include <string>
#include <string_view>
#include <vector>

#include "base/random.hpp"
#include "device/context.hpp"
#include "device/view.hpp"

namespace espalier::testing {

/// Where matrices of tests live. Tests that run on a device set it to memory that has a copy there.
struct MatrixMemory {
  void* (*allocate)(std::size_t bytes) = std::malloc;
  void (*release)(void*) = std::free;
};
inline MatrixMemory& matrix_memory() {
  static MatrixMemory memory;
  return memory;
}
template <class T>
struct MatrixAllocator {
  using value_type = T;

  MatrixAllocator() = default;
  template <class U>
  MatrixAllocator(const MatrixAllocator<U>&) {}  // NOLINT: implicit, as the standard asks
  T* allocate(std::size_t count) {
    void* p = matrix_memory().allocate(count * sizeof(T));
    if (p == nullptr) throw std::bad_alloc();
    return static_cast<T*>(p);
  }
  void deallocate(T* p, std::size_t) { matrix_memory().release(p); }
  bool operator==(const MatrixAllocator&) const { return true; }
};
template <class T>
using MatrixVector = std::vector<T, MatrixAllocator<T>>;

template <class T>
class Matrix {
 public:
  Matrix(std::int64_t rows, std::int64_t cols, std::int64_t padding = 0)
      : rows_(rows),
        cols_(cols),
        stride_(cols + padding),
        values_(static_cast<std::size_t>(rows * stride_ + padding + kGuard), T(kUntouched)) {
    fill(0.0);
  }

  Matrix& fill(double value) {
    for (std::int64_t r = 0; r < rows_; ++r)
      for (std::int64_t c = 0; c < cols_; ++c) at(r, c) = T(static_cast<float>(value));
    return *this;
  }
  /// Normal numbers of one stream, rounded to T.
  Matrix& randomize(std::string_view stream, double std = 1.0, double mean = 0.0) {
    std::vector<float> numbers(static_cast<std::size_t>(rows_ * cols_));
    RandomStream(7, stream).normal(numbers, 0, std);
    std::size_t next = 0;
    for (std::int64_t r = 0; r < rows_; ++r)
      for (std::int64_t c = 0; c < cols_; ++c)
        at(r, c) = T(numbers[next++] + static_cast<float>(mean));
    return *this;
  }

  T& at(std::int64_t r, std::int64_t c) {
    return values_[static_cast<std::size_t>(r * stride_ + c)];
  }
  double operator()(std::int64_t r, std::int64_t c) const {
    return static_cast<double>(
        static_cast<float>(values_[static_cast<std::size_t>(r * stride_ + c)]));
  }
  device::View view() { return {values_.data(), dtype_of<T>(), rows_, cols_, stride_}; }
  std::int64_t rows() const { return rows_; }
  std::int64_t cols() const { return cols_; }
  /// Whether nothing was written between the rows or after the last one.
  bool padding_untouched() const { return touched_padding().empty(); }
  /// What was: "3 elements, the first at row 7, column 258: 0.5".
  std::string touched_padding() const {
    std::int64_t i = 0, num_touched = 0;
    std::string first;
    for (const T& value : values_) {
      const std::int64_t row = i / stride_, col = i % stride_;
      const bool inside = row < rows_ && col < cols_;
      if (!inside && static_cast<float>(value) != kUntouched && ++num_touched == 1)
        first = fmt::format("row {}, column {}: {}", row, col, static_cast<float>(value));
      ++i;
    }
    if (num_touched == 0) return "";
    return fmt::format("{} element{}, the first at {}", num_touched, num_touched == 1 ? "" : "s",
                       first);
  }
  bool same_bits(const Matrix& other) const {
    return values_.size() == other.values_.size() &&
           std::memcmp(values_.data(), other.values_.data(), values_.size() * sizeof(T)) == 0;
  }

 private:
  static constexpr float kUntouched = -77.0f;
  static constexpr std::int64_t kGuard = 16;  ///< elements after the last row, there to be checked
  std::int64_t rows_, cols_, stride_;
  MatrixVector<T> values_;
};

template <class T>
class Ids {
 public:
  explicit Ids(const std::vector<T>& values) : values_(values.begin(), values.end()) {}
  device::View view() {
    return device::view_of(values_.data(), 1, static_cast<std::int64_t>(values_.size()));
  }
  T operator[](std::int64_t i) const { return values_[static_cast<std::size_t>(i)]; }

 private:
  MatrixVector<T> values_;
};

/// The largest |got - want(r, c)| divided by `scale` + |want|: an absolute error near zero and a
/// relative one for large values.
template <class T, class Want>
double worst_error(const Matrix<T>& got, Want&& want, double scale = 1.0) {
  double worst = 0.0;
  for (std::int64_t r = 0; r < got.rows(); ++r)
    for (std::int64_t c = 0; c < got.cols(); ++c) {
      const double expected = want(r, c);
      const double error = std::abs(got(r, c) - expected) / (scale + std::abs(expected));
      // A NaN must not hide: every comparison with it is false.
      if (!(error <= worst)) worst = std::isnan(error) ? INFINITY : error;
    }
  return worst;
}

/// Half a unit in the last place of T, relative: the error of one rounding.
template <class T>
constexpr double kRounding = sizeof(T) == 2 ? 0x1p-8 : 0x1p-24;

}  // namespace espalier::testing
