#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>

#include "model/initialize.hpp"
#include "model/tensor_table.hpp"
#include "support/architectures.hpp"

using namespace espalier;

namespace {

std::vector<float> values_of(const model::Architecture& a, const parallel::TensorSpec& spec) {
  std::vector<float> values(static_cast<std::size_t>(spec.num_elements()), -1.0F);
  model::initialize(a, spec, 5, {0, spec.rows, 0, spec.cols}, values.data());
  return values;
}

}  // namespace

TEST_CASE("every row of GPT-2's table starts as it says") {
  const model::Architecture a = testing::gpt2(
      {.H = 96, .F = 384, .L = 8, .A = 4, .K = 4, .D = 24, .tied = true, .V = 300}, 64);
  for (const parallel::TensorSpec& spec : model::tensor_table(a)) {
    if (spec.layer > 0) continue;
    INFO(spec.name);
    const std::vector<float> values = values_of(a, spec);
    if (spec.is_vector) {
      const float constant = spec.name.ends_with(".bias") ? 0.0F : 1.0F;
      CHECK(std::all_of(values.begin(), values.end(), [&](float v) { return v == constant; }));
      continue;
    }
    double squares = 0.0;
    for (const float v : values) squares += double{v} * double{v};
    const double deviation = std::sqrt(squares / static_cast<double>(values.size()));
    const bool ends_branch = spec.name.ends_with("c_proj.weight");
    const double expected = ends_branch ? 0.02 / 4.0 : 0.02;  // sqrt(2 * 8)
    // 6,144 numbers or more: the deviation is known to 1 % (one standard error).
    CHECK(deviation == Approx(expected).epsilon(0.04));
  }
}
