#include <catch2/catch.hpp>

#include "model/recompute.hpp"

using namespace espalier;
using model::Recompute;
using model::RecomputeMix;

namespace {

std::vector<Recompute> first_layers(const RecomputeMix& mix, std::int64_t number) {
  std::vector<Recompute> modes;
  for (std::int64_t layer = 0; layer < number; ++layer) modes.push_back(mix.of(layer));
  return modes;
}

}  // namespace

TEST_CASE("a mix gives the first blocks the weakest mode and the last the strongest") {
  using enum Recompute;
  CHECK(first_layers(RecomputeMix({2, 1, 0, 3}), 6) ==
        std::vector{none, none, selective, full, full, full});
  CHECK(first_layers(RecomputeMix({0, 0, 2, 1}), 3) == std::vector{mlp, mlp, full});
  CHECK(first_layers(RecomputeMix({0, 4, 0, 0}), 4) == std::vector(4, selective));
}

TEST_CASE("one mode for all blocks is the mix with all blocks in it") {
  for (const Recompute mode :
       {Recompute::none, Recompute::selective, Recompute::mlp, Recompute::full}) {
    model::BlocksOfModes blocks{};
    blocks[static_cast<std::size_t>(mode)] = 5;
    CHECK(RecomputeMix(blocks) == RecomputeMix(mode));
    CHECK(RecomputeMix(mode).of(4) == mode);
    CHECK(RecomputeMix(mode).any() == (mode != Recompute::none));
  }
  CHECK(RecomputeMix({4, 1, 0, 0}).any());
}
