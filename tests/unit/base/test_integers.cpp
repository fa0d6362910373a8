#include <catch2/catch.hpp>
#include <cstdint>

#include "base/integers.hpp"

namespace espalier {

TEST_CASE("checked integer helpers", "[integers]") {
  CHECK(div_exact(12, 4) == 3);
  CHECK_THROWS_AS(div_exact(13, 4), Error);
  CHECK_THROWS_AS(div_exact(13, 0), Error);
  CHECK(div_ceil(0, 4) == 0);
  CHECK(div_ceil(1, 4) == 1);
  CHECK(div_ceil(8, 4) == 2);
  CHECK(round_up(0, 64) == 0);
  CHECK(round_up(1, 64) == 64);
  CHECK(round_up(128, 64) == 128);
  CHECK(narrow<std::int32_t>(std::int64_t{2147483647}) == 2147483647);
  CHECK_THROWS_AS(narrow<std::int32_t>(std::int64_t{2147483648}), Error);
  CHECK_THROWS_AS(narrow<std::uint32_t>(-1), Error);
}

}  // namespace espalier
