// What a log says of a wrong result.
#include "cases.hpp"

namespace espalier::testing {
namespace {

TEST_CASE("a wrong result is told with its counts, its worst element and a map") {
  Matrix<bf16> got(136, 256, 8), want(136, 256, 8);
  want.randomize("want", 0.1, 1.0);
  for (std::int64_t r = 0; r < 136; ++r)
    for (std::int64_t c = 0; c < 256; ++c) got.at(r, c) = want.at(r, c);
  for (std::int64_t c = 64; c < 128; ++c) got.at(70, c) = bf16(0.0f);
  got.at(8, 3) = bf16(NAN);
  want.at(100, 200) = bf16(1.0f);
  got.at(100, 200) = bf16(9.0f);
  Verdict verdict;
  verdict.close("o", got, want, 1e-2, 1.0);
  INFO(verdict.complaints);
  const auto says = [&](const char* text) {
    return verdict.complaints.find(text) != std::string::npos;
  };
  CHECK(says("o: error inf > 0.01"));
  CHECK(says("(136, 256) bf16: 66 of 34816 elements are off"));
  CHECK(says("1 of them not finite, 64 zero; rows 8 to 100, columns 3 to 200"));
  CHECK(says("worst (8, 3): found nan"));
  CHECK(says("first (70, 64): found 0, expected "));
  CHECK(says("8 rows x 4 columns"));
  // Row 70 is in the ninth line of the map, its columns are letters 16 to 31.
  CHECK(says("\n      ................0000000000000000................................\n"));
  CHECK(says("\n      N..............................................................."));
}

TEST_CASE("what is written beside a matrix, and other bits, have their places") {
  Matrix<float> got(3, 5, 2), want(3, 5, 2);
  got.at(1, 6) = 0.5f;
  want.at(2, 4) = -0.0f;
  Verdict verdict;
  verdict.same_bits("y", got, want);
  INFO(verdict.complaints);
  CHECK(verdict.complaints.find("1 element, the first at row 1, column 6: 0.5") !=
        std::string::npos);
  CHECK(verdict.complaints.find("1 of 15 elements have other bits") != std::string::npos);
  CHECK(verdict.complaints.find("(2, 4): found 0x0p+0, expected -0x0p+0") != std::string::npos);
}

TEST_CASE("of a vector the first wrong elements are named") {
  Verdict verdict;
  for (std::int64_t i = 0; i < 100; ++i) verdict.equal("order", i, i, i % 2);
  CHECK(verdict.complaints.find("order[2]: found 2, expected 0") != std::string::npos);
  CHECK(verdict.complaints.find("order at more places") != std::string::npos);
  CHECK(verdict.complaints.size() < 500);
  Verdict good;
  good.equal("order", 0, 1, 1);
  good.near("sum", 0, 1.0, 1.0 + 1e-9, 1e-8);
  CHECK(good.complaints.empty());
}

}  // namespace
}  // namespace espalier::testing
