#include <catch2/catch.hpp>
#include <limits>

#include "huggingface/half.hpp"

using namespace espalier::huggingface;

TEST_CASE("every binary16 value survives binary32 and back") {
  int wrong = 0;
  for (std::uint32_t bits = 0; bits < 0x10000; ++bits) {
    const auto half = static_cast<std::uint16_t>(bits);
    const float value = half_to_float(half);
    const std::uint16_t back = float_to_half(value);
    const bool is_nan = (bits & 0x7C00u) == 0x7C00u && (bits & 0x3FFu) != 0;
    // A NaN is made quiet; all others keep their bits.
    wrong += (is_nan ? (back & 0x7C00u) == 0x7C00u && (back & 0x3FFu) != 0 : back == half) ? 0 : 1;
  }
  CHECK(wrong == 0);
}

TEST_CASE("binary32 is rounded to the nearest binary16, to even when there are two") {
  CHECK(half_to_float(float_to_half(1.0F)) == 1.0F);
  CHECK(float_to_half(1.0F + 0x1p-11F) == 0x3C00);      // between 1 and 1 + 2^-10: even is 1
  CHECK(float_to_half(1.0F + 0x1.8p-10F) == 0x3C02);    // between the first and second: even
  CHECK(float_to_half(1.0F + 0x1.001p-11F) == 0x3C01);  // just above the middle
  CHECK(float_to_half(65504.0F) == 0x7BFF);             // the largest
  CHECK(float_to_half(65519.0F) == 0x7BFF);             // rounds down to it
  CHECK(float_to_half(65520.0F) == 0x7C00);             // rounds to infinity
  CHECK(float_to_half(0x1p-24F) == 0x0001);             // the smallest subnormal
  CHECK(float_to_half(0x1p-25F) == 0x0000);             // half of it: even is zero
  CHECK(float_to_half(0x1.8p-25F) == 0x0001);
  CHECK(float_to_half(0x1.FFEp-15F) == 0x0400);  // rounds up to the smallest normal
  CHECK(float_to_half(-0.0F) == 0x8000);
  CHECK(float_to_half(-std::numeric_limits<float>::infinity()) == 0xFC00);
}
