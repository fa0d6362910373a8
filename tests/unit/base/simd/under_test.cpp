#include "unit/base/simd/under_test.hpp"

// Last: what follows is compiled for one SIMD level.
#include "base/simd/simd.hpp"

namespace espalier::simd_under_test::ESPALIER_SIMD {
namespace {

using simd::Floats;

template <class Function>
void apply(std::vector<float>& x, Function&& function) {
  for (std::size_t i = 0; i < x.size(); i += simd::kLanes)
    simd::store(&x[i], function(simd::load(&x[i])));
}

}  // namespace

void exp_all(std::vector<float>& x) {
  apply(x, [](Floats v) { return simd::exp(v); });
}
void exp_for_bf16_all(std::vector<float>& x) {
  apply(x, [](Floats v) { return simd::exp_for<bf16>(v); });
}
void exp2_all(std::vector<float>& x) {
  apply(x, [](Floats v) { return simd::exp2_for<float>(v); });
}
void exp2_for_bf16_all(std::vector<float>& x) {
  apply(x, [](Floats v) { return simd::exp2_for<bf16>(v); });
}
void scale_all(std::vector<float>& x, float power) {
  apply(x, [&](Floats v) { return simd::scale_by_power(v, simd::splat(power)); });
}
void sums_and_maxima(const std::vector<float>& x, std::vector<float>& results) {
  results.clear();
  for (std::size_t i = 0; i < x.size(); i += simd::kLanes) {
    const Floats v = simd::load(&x[i]);
    results.push_back(simd::sum(v));
    results.push_back(simd::maximum(v));
  }
}
void rounded_all(std::vector<float>& x) {
  apply(x, [](Floats v) { return simd::rounded_to<bf16>(v); });
}

void transpose_square(std::vector<float>& square, std::int64_t& lanes) {
  lanes = simd::kLanes;
  simd::Ints rows[simd::kLanes];
  for (std::int64_t i = 0; i < lanes; ++i)
    rows[i] = simd::load_units(&square[static_cast<std::size_t>(i * lanes)]);
  simd::transpose(rows);
  for (std::int64_t i = 0; i < lanes; ++i)
    simd::store_units(&square[static_cast<std::size_t>(i * lanes)], rows[i]);
}

void tail(const std::vector<float>& in, std::int64_t count, TailResult& result) {
  const auto lanes = static_cast<std::size_t>(simd::kLanes);
  const simd::Tail tail{count};
  result.copied.assign(lanes, -1.0f);
  result.halves.assign(lanes, bf16(-1.0f));
  result.loaded.assign(lanes, -1.0f);
  result.kept.assign(lanes, -1.0f);
  if (count >= simd::kLanes) {  // no tail of this level
    result = {};
    return;
  }
  simd::store(result.copied.data(), simd::load(in.data(), tail) * 2.0f, tail);
  simd::store(result.halves.data(), simd::load(in.data(), tail), tail);
  simd::store(result.loaded.data(), simd::load(in.data(), tail));
  simd::store(result.kept.data(), simd::keep(simd::splat(5.0f), tail, simd::splat(9.0f)));
}

}  // namespace espalier::simd_under_test::ESPALIER_SIMD
