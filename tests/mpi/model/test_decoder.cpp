// Decoding with a cache against transformers' generate (fixtures: tests/fixtures/model).
#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>

#include "model/decoder.hpp"
#include "mpi/model/model_on_grid.hpp"

namespace espalier {
namespace {

using testing::Hdf5Fixture;
using testing::ModelOnGrid;

/// Largest |difference| from the logits that the full forward pass of transformers has for token
/// `position` of the first sequence, relative to the largest of them.
double logits_error(const Hdf5Fixture& fixture, std::int64_t position,
                    std::span<const float> logits) {
  const std::vector<float> all = fixture.floats("logits");
  const std::span<const float> expected =
      std::span(all).subspan(static_cast<std::size_t>(position) * logits.size(), logits.size());
  double error = 0.0;
  double largest = 0.0;
  for (std::size_t v = 0; v < logits.size(); ++v) {
    error = std::max(error, std::abs(double{logits[v]} - double{expected[v]}));
    largest = std::max(largest, std::abs(double{expected[v]}));
  }
  return error / largest;
}

}  // namespace

TEST_CASE("greedy decoding continues as transformers' generate does") {
  const auto name = GENERATE(as<std::string>{}, "untied_k2", "llama3", "llama2", "dynamic", "yarn",
                             "gpt2", "moe", "moe_mixed");
  const Hdf5Fixture fixture(testing::fixture_path(name));
  const int tensor = testing::session().size();
  CAPTURE(name, tensor);
  ModelOnGrid model(fixture, testing::parameters_of(fixture, tensor, 1, true, 1, "float32"));
  const std::vector<std::uint32_t> expected = fixture.words("greedy");
  const auto layout = [&](device::Arena& arena) {
    return model::Decoder(model.memory.architecture, *model.memory.weights, DType::f32,
                          std::ssize(expected), model.context, model.communicators, arena);
  };
  device::Arena plan = device::Arena::planning("decoder");
  layout(plan);
  device::Arena arena = device::Arena::backed("decoder", plan.used_bytes(), model.gpu);
  model::Decoder decoder = layout(arena);

  constexpr std::size_t kPrompt = 12;
  std::span<const float> logits = decoder.append(std::span(expected).first(kPrompt));
  // The logits of the fixture are those of the whole sequence, whose length dynamic RoPE follows.
  if (name != "dynamic") CHECK(logits_error(fixture, kPrompt - 1, logits) < 1e-5);
  for (std::size_t i = kPrompt; i < expected.size(); ++i) {
    const auto best = std::max_element(logits.begin(), logits.end()) - logits.begin();
    REQUIRE(static_cast<std::uint32_t>(best) == expected[i]);
    logits = decoder.append({&expected[i], 1});
  }
  CHECK(decoder.length() == std::ssize(expected));
}

TEST_CASE("a sequence longer than the learned positions is refused") {
  const Hdf5Fixture fixture(testing::fixture_path("gpt2"));
  ModelOnGrid model(
      fixture, testing::parameters_of(fixture, testing::session().size(), 1, true, 1, "float32"));
  device::Arena plan = device::Arena::planning("decoder");
  CHECK_THROWS_WITH(model::Decoder(model.memory.architecture, *model.memory.weights, DType::f32, 65,
                                   model.context, model.communicators, plan),
                    Catch::Contains("65 tokens") && Catch::Contains("64 positions"));
}

}  // namespace espalier
