#pragma once
#include <cstdint>
#include <string>
#include <type_traits>

#include "base/dtype.hpp"
#include "base/error.hpp"

namespace espalier::device {

/// A non-owning, row-major matrix of one dtype: (rows, cols) with `stride` elements from one row to
/// the next. Everything the program computes on is a matrix; a vector is (1, n).
///
/// A default view is absent: an operand that this model does not have. One with a size
/// and no data is planned: its memory is only being counted (Arena::planning, Context::Counting).
/// Operators ask exists(), so that they are told the same in both cases.
template <bool kConst>
struct BasicView {
  using Void = std::conditional_t<kConst, const void, void>;

  Void* data = nullptr;
  DType dtype = DType::f32;
  std::int64_t rows = 0;
  std::int64_t cols = 0;
  std::int64_t stride = 0;  ///< elements, >= cols

  /// Typed pointer to element (row, 0); T must be the dtype.
  template <class T>
  auto as(std::int64_t row = 0) const {
    using Pointer = std::conditional_t<kConst, const T*, T*>;
    ESPALIER_ASSERT(dtype == dtype_of<T>(), "view holds {}", name_of(dtype));
    return static_cast<Pointer>(data) + row * stride;
  }
  std::int64_t size() const { return rows * cols; }  ///< elements
  bool exists() const { return size() > 0; }
  bool is_planned() const { return exists() && data == nullptr; }
  std::int64_t size_bytes() const { return size() * static_cast<std::int64_t>(size_of(dtype)); }
  bool is_contiguous() const { return stride == cols || rows <= 1; }

  BasicView row_range(std::int64_t begin, std::int64_t count) const {
    ESPALIER_ASSERT(begin >= 0 && count >= 0 && begin + count <= rows, "rows {}+{} of {}", begin,
                    count, rows);
    return offset(begin * stride, count, cols);
  }
  BasicView col_range(std::int64_t begin, std::int64_t count) const {
    ESPALIER_ASSERT(begin >= 0 && count >= 0 && begin + count <= cols, "cols {}+{} of {}", begin,
                    count, cols);
    return offset(begin, rows, count);
  }
  operator BasicView<true>() const { return {data, dtype, rows, cols, stride}; }

 private:
  BasicView offset(std::int64_t elements, std::int64_t new_rows, std::int64_t new_cols) const {
    BasicView view = *this;
    using Byte = std::conditional_t<kConst, const char, char>;
    if (data != nullptr)
      view.data = static_cast<Byte*>(data) + elements * static_cast<std::int64_t>(size_of(dtype));
    view.rows = new_rows;
    view.cols = new_cols;
    return view;
  }
};

using View = BasicView<false>;
using ConstView = BasicView<true>;

/// A view over contiguous memory of T.
template <class T>
auto view_of(T* data, std::int64_t rows, std::int64_t cols) {
  using Element = std::remove_const_t<T>;
  return BasicView<std::is_const_v<T>>{data, dtype_of<Element>(), rows, cols, cols};
}

/// "(512, 1024) bfloat16", for messages.
std::string describe(const ConstView& view);

}  // namespace espalier::device
