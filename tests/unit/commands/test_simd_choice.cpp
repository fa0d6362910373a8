#include <catch2/catch.hpp>

#include <array>

#include "commands/simd_choice.hpp"
#include "support/expect_error.hpp"

namespace espalier::commands {

using simd::Level;

TEST_CASE("the banner says why the SIMD level is not the best of the job's processors") {
  const std::array<std::string, 3> hosts = {"node01", "node02", "node07"};
  const std::array<Level, 3> mixed = {Level::avx512_bf16, Level::avx512_bf16, Level::avx2};
  testing::expect_words(explain_simd_level(Level::avx2, "auto", mixed, hosts),
                        {"level avx2", "rank 2 on node07", "rank 0 on node01", "avx512_bf16"});
  testing::expect_words(explain_simd_level(Level::portable, "portable", mixed, hosts),
                        {"level portable", "device.simd", "avx2"});
  const std::array<Level, 3> alike = {Level::avx2, Level::avx2, Level::avx2};
  CHECK(explain_simd_level(Level::avx2, "auto", alike, hosts).empty());
  CHECK(explain_simd_level(Level::avx2, "avx2", alike, hosts).empty());
}

}  // namespace espalier::commands
