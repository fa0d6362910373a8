#pragma once
#include <algorithm>
#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <span>

#include "base/error.hpp"

namespace espalier {

/// Where values that should be the same have other bits.
struct BitDifference {
  std::int64_t num_different = 0;
  double largest = 0.0;  ///< absolute; infinity where one of two values is no number

  bool any() const { return num_different > 0; }
  /// Adds the next elements of both.
  void add(std::span<const float> a, std::span<const float> b) {
    ESPALIER_ASSERT(a.size() == b.size(), "{} and {} elements", a.size(), b.size());
    for (std::size_t i = 0; i < a.size(); ++i) {
      if (std::bit_cast<std::uint32_t>(a[i]) == std::bit_cast<std::uint32_t>(b[i])) continue;
      ++num_different;
      const double difference = std::abs(double{a[i]} - double{b[i]});
      largest = std::max(
          largest, std::isnan(difference) ? std::numeric_limits<double>::infinity() : difference);
    }
  }
};

}  // namespace espalier
