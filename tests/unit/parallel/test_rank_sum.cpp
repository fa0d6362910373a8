#include "parallel/comm/rank_sum.hpp"

#include <catch2/catch.hpp>
#include <cmath>
#include <limits>
#include <vector>

#include "base/error.hpp"
#include "base/random.hpp"

using espalier::bf16;
using espalier::DType;
using espalier::dtype_of;
using espalier::Error;
using espalier::parallel::sum_in_rank_order;

namespace {

template <class T>
std::vector<std::vector<T>> random_sources(int num, std::int64_t count) {
  std::vector<std::vector<T>> sources(static_cast<std::size_t>(num));
  for (int s = 0; s < num; ++s) {
    const espalier::RandomStream random(7, "source " + std::to_string(s));
    for (std::int64_t i = 0; i < count; ++i) {
      const auto index = static_cast<std::uint64_t>(i);
      // Magnitudes from 2^-12 to 2^12: the order of the sum matters.
      const double scale = std::exp2(24.0 * random.uniform(2 * index) - 12.0);
      sources[static_cast<std::size_t>(s)].push_back(
          static_cast<T>(static_cast<float>(scale * (random.uniform(2 * index + 1) - 0.5))));
    }
  }
  return sources;
}

template <class T>
void check_sum(int num, std::int64_t count, int out_is, int block = 1) {
  auto sources = random_sources<T>(num, count);
  std::vector<T> expected;
  for (std::size_t i = 0; i < static_cast<std::size_t>(count); ++i) {
    float total = 0.0F;
    for (std::size_t first = 0; first < sources.size(); first += static_cast<std::size_t>(block)) {
      auto sum = static_cast<float>(sources[first][i]);
      for (std::size_t s = first + 1; s < first + static_cast<std::size_t>(block); ++s)
        sum += static_cast<float>(sources[s][i]);
      total = first == 0 ? sum : total + sum;
    }
    expected.push_back(static_cast<T>(total));
  }
  std::vector<T> separate(static_cast<std::size_t>(count));
  std::vector<T>& out = out_is < 0 ? separate : sources[static_cast<std::size_t>(out_is)];
  std::vector<const void*> pointers;
  for (const auto& source : sources) pointers.push_back(source.data());
  sum_in_rank_order(dtype_of<T>(), pointers, out.data(), count, block);
  for (std::size_t i = 0; i < expected.size(); ++i)
    if (std::bit_cast<std::array<std::byte, sizeof(T)>>(out[i]) !=
        std::bit_cast<std::array<std::byte, sizeof(T)>>(expected[i]))
      FAIL("element " << i << " of " << count << ", " << num << " sources in blocks of " << block);
}

}  // namespace

TEST_CASE("sums are in rank order and rounded once, with the output anywhere") {
  for (int num : {1, 2, 3, 4, 8, 9})
    for (std::int64_t count : {0, 1, 17, 2048, 2049, 100003})
      for (int out_is = -1; out_is < num; ++out_is) {
        check_sum<float>(num, count, out_is);
        check_sum<bf16>(num, count, out_is);
      }
}

TEST_CASE("blocks of consecutive ranks are summed first, then their sums") {
  for (const auto& [num, block] : std::vector<std::pair<int, int>>{
           {2, 2}, {4, 2}, {6, 2}, {6, 3}, {8, 4}, {9, 3}, {16, 2}, {18, 9}})
    for (const std::int64_t count : {1, 17, 2049, 40001})
      for (const int out_is : {-1, 0, num - 1}) {
        check_sum<float>(num, count, out_is, block);
        check_sum<bf16>(num, count, out_is, block);
      }
  // 1 + 2^-24 rounds to 1: (1 + e) + (e + e) is 1 + 2 e, and e in rank order is lost three times.
  const float one = 1.0F, e = std::exp2(-24.0F);
  const std::vector<const void*> sources{&one, &e, &e, &e};
  float out = 0.0F;
  sum_in_rank_order(DType::f32, sources, &out, 1);
  REQUIRE(out == 1.0F);
  sum_in_rank_order(DType::f32, sources, &out, 1, 2);
  REQUIRE(out == 1.0F + 2.0F * e);
  REQUIRE_THROWS_AS(sum_in_rank_order(DType::f32, sources, &out, 1, 3), Error);
}

TEST_CASE("bf16 is not rounded between the terms") {
  // 256 + 0.5 + 0.5 + 1: every partial sum in bf16 would stay 256; the sum is 258.
  const std::vector<bf16> a{bf16(256.0F)}, b{bf16(0.5F)}, c{bf16(0.5F)}, d{bf16(1.0F)};
  bf16 out;
  sum_in_rank_order(DType::bf16, std::vector<const void*>{a.data(), b.data(), c.data(), d.data()},
                    &out, 1);
  REQUIRE(static_cast<float>(out) == 258.0F);
}

TEST_CASE("a value that is not finite stays so") {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  const std::vector<bf16> a{bf16(nan)}, b{bf16(1.0F)};
  bf16 out;
  sum_in_rank_order(DType::bf16, std::vector<const void*>{a.data(), b.data()}, &out, 1);
  REQUIRE(std::isnan(static_cast<float>(out)));
}

TEST_CASE("only f32 and bf16 are summed") {
  const std::uint32_t a = 1;
  std::uint32_t out = 0;
  REQUIRE_THROWS_AS(sum_in_rank_order(DType::u32, std::vector<const void*>{&a, &a}, &out, 1),
                    Error);
}
