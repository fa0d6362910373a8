#include <catch2/catch.hpp>
#include <cmath>
#include <vector>

#include "base/random.hpp"

namespace espalier {

TEST_CASE("Philox gives the known answers of Random123", "[random]") {
  CHECK(philox({0, 0, 0, 0}, {0, 0}) ==
        PhiloxBlock{0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8});
  constexpr std::uint32_t kOnes = 0xffffffff;
  CHECK(philox({kOnes, kOnes, kOnes, kOnes}, {kOnes, kOnes}) ==
        PhiloxBlock{0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd});
  // Digits of pi, the third vector of the same file.
  CHECK(philox({0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344}, {0xa4093822, 0x299f31d0}) ==
        PhiloxBlock{0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1});
}

TEST_CASE("a normal stream is addressed by index", "[random]") {
  const RandomStream stream(42, "weights");
  std::vector<float> whole(1003);
  stream.normal(whole, 0, 0.02);
  for (const std::uint64_t first : {0u, 1u, 2u, 3u, 5u, 998u}) {
    std::vector<float> part(5);
    stream.normal(part, first, 0.02);
    for (std::size_t i = 0; i < 5; ++i) CHECK(part[i] == whole[first + i]);
  }
  std::vector<float> other(1003);
  RandomStream(42, "biases").normal(other, 0, 0.02);
  CHECK(other != whole);
  RandomStream(43, "weights").normal(other, 0, 0.02);
  CHECK(other != whole);
  CHECK(stream.bits(7) == RandomStream(42, "weights").bits(7));
}

TEST_CASE("random numbers have the moments of their distribution", "[random]") {
  constexpr std::size_t kCount = 200000;
  std::vector<float> normal(kCount);
  const RandomStream stream(1, "moments");
  stream.normal(normal, 0, 2.0);
  double mean = 0.0, square = 0.0, fourth = 0.0, uniform = 0.0;
  for (std::size_t i = 0; i < kCount; ++i) {
    const double x = static_cast<double>(normal[i]) / 2.0;
    mean += x / kCount;
    square += x * x / kCount;
    fourth += x * x * x * x / kCount;
    const double u = stream.uniform(i);
    CHECK_FALSE((u < 0.0 || u >= 1.0));
    uniform += u / kCount;
  }
  // Four standard errors of each: sqrt(1/n), sqrt(2/n), sqrt(96/n), sqrt(1/12n).
  CHECK(std::abs(mean) < 0.009);
  CHECK(std::abs(square - 1.0) < 0.013);
  CHECK(std::abs(fourth - 3.0) < 0.09);
  CHECK(std::abs(uniform - 0.5) < 0.0026);
}

}  // namespace espalier
