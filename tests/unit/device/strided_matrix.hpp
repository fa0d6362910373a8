#pragma once
#include <string_view>
#include <vector>

#include "base/random.hpp"
#include "device/view.hpp"

namespace espalier::device {

/// Random numbers in rows of `cols` with `padding` untouched elements between them.
template <class T>
struct Matrix {
  std::int64_t rows, cols, stride;
  std::vector<T> values;

  Matrix(std::int64_t r, std::int64_t c, std::int64_t padding, std::string_view stream)
      : rows(r), cols(c), stride(c + padding), values(static_cast<std::size_t>(r * stride)) {
    std::vector<float> numbers(values.size());
    RandomStream(1, stream).normal(numbers, 0, 1.0);
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = T(numbers[i]);
  }
  View view() { return {values.data(), dtype_of<T>(), rows, cols, stride}; }
  double operator()(std::int64_t r, std::int64_t c) const {
    return static_cast<double>(
        static_cast<float>(values[static_cast<std::size_t>(r * stride + c)]));
  }
};

}  // namespace espalier::device
