#include <catch2/catch.hpp>
#include <cmath>
#include <limits>

#include "base/dtype.hpp"
#include "base/error.hpp"

namespace espalier {

TEST_CASE("bf16 rounds to nearest, ties to even", "[dtype]") {
  const auto round = [](float x) { return static_cast<float>(bf16(x)); };
  CHECK(round(1.0f) == 1.0f);
  CHECK(round(1.0f + 0x1p-8f) == 1.0f);              // a tie, down to even
  CHECK(round(1.0f + 0x1.8p-7f) == 1.0f + 0x1p-6f);  // a tie, up to even
  CHECK(round(1.0f + 0x1.1p-8f) == 1.0f + 0x1p-7f);
  CHECK(round(-3.14159f) == -3.140625f);
  CHECK(round(std::numeric_limits<float>::max()) == INFINITY);
  CHECK(round(-INFINITY) == -INFINITY);
  CHECK(std::signbit(round(-0.0f)));
  // A NaN whose payload lies in the dropped half stays NaN.
  CHECK(std::isnan(round(std::bit_cast<float>(0x7F800001u))));
  CHECK(std::isnan(round(std::bit_cast<float>(0xFFFFFFFFu))));
  for (std::uint32_t bits = 0; bits < 0x7F80u; ++bits)
    CHECK(bf16(std::bit_cast<float>(bits << 16)).bits == bits);
}

TEST_CASE("dtypes have names and sizes", "[dtype]") {
  CHECK(size_of(DType::bf16) == 2);
  CHECK(size_of(DType::f32) == 4);
  CHECK(name_of(DType::u32) == "uint32");
  CHECK(dtype_from_name("bfloat16") == DType::bf16);
  try {
    dtype_from_name("float16");
    FAIL("float16 was accepted");
  } catch (const Error& error) {
    CHECK(error.status() == ExitStatus::bad_configuration);
    CHECK_THAT(error.what(), Catch::Contains("float16") && Catch::Contains("bfloat16"));
  }
}

TEST_CASE("a failed assertion says where and with what", "[error]") {
  const int answer = 41;
  CHECK_THROWS_WITH([&] { ESPALIER_ASSERT(answer == 42, "answer {}", answer); }(),
                    Catch::Contains("answer == 42") && Catch::Contains("answer 41") &&
                        Catch::Contains("test_dtype.cpp"));
  CHECK_NOTHROW([&] { ESPALIER_ASSERT(answer == 41); }());
}

}  // namespace espalier
