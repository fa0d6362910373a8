#pragma once
// Sums over long rows of an activation.

// Last: what follows is compiled for one SIMD level.
#include "base/simd/simd.hpp"

namespace espalier::kernels::host::ESPALIER_SIMD {

/// A sum of vectors that is closed every 32: a row of 8192 is otherwise a chain of 1024 additions
/// per lane at eight lanes and of 2048 at four, and its rounding error grows with the chain.
class LongSum {
 public:
  void add(simd::Floats x) {
    part_ += x;
    close_if_due();
  }
  /// Adds x * y.
  void add_product(simd::Floats x, simd::Floats y) {
    part_ = simd::fma(x, y, part_);
    close_if_due();
  }
  /// Over all lanes.
  float total() const { return simd::sum(whole_ + part_); }

 private:
  void close_if_due() {
    constexpr int kClosed = 32;
    if (++num_ % kClosed != 0) return;
    whole_ += part_;
    part_ = simd::Floats{};
  }

  simd::Floats part_{};
  simd::Floats whole_{};
  int num_ = 0;
};

}  // namespace espalier::kernels::host::ESPALIER_SIMD
