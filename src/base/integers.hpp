#pragma once
#include <cstdint>
#include <limits>
#include <utility>

#include "base/error.hpp"

namespace espalier {

/// a / b, which must be exact.
constexpr std::int64_t div_exact(std::int64_t a, std::int64_t b) {
  if (b == 0 || a % b != 0) fail(ExitStatus::internal, "div_exact: {} / {} is not exact", a, b);
  return a / b;
}

/// a / b rounded up; a >= 0, b > 0.
constexpr std::int64_t div_ceil(std::int64_t a, std::int64_t b) {
  return (a + b - 1) / b;
}

/// The smallest multiple of `unit` that is >= a.
constexpr std::int64_t round_up(std::int64_t a, std::int64_t unit) {
  return div_ceil(a, unit) * unit;
}

/// Converts between integer types; throws Error (internal) when the value does not fit.
template <class To, class From>
constexpr To narrow(From value) {
  if (!std::in_range<To>(value)) fail(ExitStatus::internal, "narrow: {} does not fit", value);
  return static_cast<To>(value);
}

}  // namespace espalier
