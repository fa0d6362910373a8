#include "kernels/simd.hpp"
#include "support.hpp"

namespace espalier {

namespace simd = kernels::simd;

TEST_CASE("vector exp has a relative error below 2e-7", "[simd]") {
  double worst = 0.0;
  for (int i = 0; i < 200000; ++i) {
    const float x = -87.0f + static_cast<float>(i) * (175.0f / 200000.0f);
    const double want = std::exp(static_cast<double>(x));
    const double got = static_cast<double>(simd::exp(simd::splat(x))[i % 16]);
    worst = std::max(worst, std::abs(got - want) / want);
  }
  CHECK(worst < 2e-7);
  CHECK(simd::exp(simd::splat(0.0f))[3] == 1.0f);
  CHECK(simd::exp(simd::splat(-INFINITY))[0] == 0.0f);
  CHECK(simd::exp(simd::splat(-1000.0f))[0] == 0.0f);
  CHECK(simd::exp(simd::splat(INFINITY))[0] == INFINITY);
  CHECK(std::isnan(simd::exp(simd::splat(NAN))[0]));
}

TEST_CASE("vector conversion to bf16 rounds as the scalar one", "[simd]") {
  std::vector<float> x;
  for (std::uint32_t i = 0; i < 4096; ++i) {
    // Every kind of tail below the kept bits, over positive and negative exponents of normal size.
    const std::uint32_t word = ((i % 200 + 20) << 23) | (i * 0x9E3779B1u >> 9) | (i & 1u) << 31;
    x.push_back(std::bit_cast<float>(word));
  }
  for (float special : {0.0f, -0.0f, INFINITY, -INFINITY, 1.00390625f, 1.01171875f, 3.4e38f})
    x.push_back(special);
  while (x.size() % 16 != 0) x.push_back(1.0f);
  for (std::size_t i = 0; i < x.size(); i += 16) {
    bf16 got[16];
    simd::store(got, simd::load(&x[i]));
    for (std::size_t j = 0; j < 16; ++j) {
      CAPTURE(x[i + j]);
      CHECK(got[j].bits == bf16(x[i + j]).bits);
      CHECK(simd::load(got)[static_cast<long>(j)] == static_cast<float>(got[j]));
    }
  }
  bf16 nan[16];
  simd::store(nan, simd::splat(NAN));
  CHECK(std::isnan(static_cast<float>(nan[7])));
}

TEST_CASE("tails neither read nor write past their end", "[simd]") {
  for (std::int64_t n = 1; n < 16; ++n) {
    float in[16], out[16];
    bf16 halves[16];
    for (int i = 0; i < 16; ++i) {
      in[i] = static_cast<float>(i + 1);
      out[i] = -1.0f;
      halves[i] = bf16(-1.0f);
    }
    const simd::Tail tail{n};
    simd::store(out, simd::load(in, tail) * 2.0f, tail);
    simd::store(halves, simd::load(in, tail), tail);
    const simd::Floats kept = simd::keep(simd::splat(5.0f), tail, simd::splat(9.0f));
    for (int i = 0; i < 16; ++i) {
      CHECK(out[i] == (i < n ? 2.0f * in[i] : -1.0f));
      CHECK(static_cast<float>(halves[i]) == (i < n ? in[i] : -1.0f));
      CHECK(simd::load(in, tail)[i] == (i < n ? in[i] : 0.0f));
      CHECK(kept[i] == (i < n ? 5.0f : 9.0f));
    }
  }
}

}  // namespace espalier
