#include <catch2/catch.hpp>

#include "kernels/embedding/batch_inputs.hpp"
#include "kernels/loss/cross_entropy.hpp"
#include "support.hpp"

namespace espalier::testing {
namespace {

constexpr std::uint32_t kNone = kernels::kIgnoredTarget;
using Ints = std::vector<std::int32_t>;
using Words = std::vector<std::uint32_t>;

/// Two samples of four tokens: documents of 3 and 2 (the second goes on), then one of 1 and one.
struct Gathered {
  Words samples{1, 2, 3, 4, 5, 6, 7, 8, 9, 10};
  Ints places{0, 1, 2, 0, 1, 0, 0, 1, 2, 3};
  Words tokens = Words(8), targets = Words(8);
  Ints position_ids = Ints(8), document_start = Ints(8, -1);

  Gathered(bool documents, bool mask, bool predict_across, std::int64_t num_counted) {
    device::Context context;
    const auto row = [](auto& values) { return device::view_of(values.data(), 1, 8); };
    kernels::batch_inputs(
        context,
        {.samples = device::view_of(samples.data(), 2, 5),
         .document_positions = documents ? device::ConstView(device::view_of(places.data(), 2, 5))
                                         : device::ConstView{},
         .num_counted = num_counted,
         .predict_across = predict_across,
         .tokens = row(tokens),
         .targets = row(targets),
         .position_ids = row(position_ids),
         .document_start = mask ? row(document_start) : device::View{}});
  }
};

}  // namespace

TEST_CASE("a batch's inputs are its samples, shifted", "[batch_inputs]") {
  const Gathered g(false, false, true, 2);
  CHECK(g.tokens == Words{1, 2, 3, 4, 6, 7, 8, 9});
  CHECK(g.targets == Words{2, 3, 4, 5, 7, 8, 9, 10});
  CHECK(g.position_ids == Ints{0, 1, 2, 3, 0, 1, 2, 3});
  CHECK(g.document_start == Ints(8, -1));
}

TEST_CASE("samples that do not count have ignored targets", "[batch_inputs]") {
  CHECK(Gathered(false, false, true, 1).targets == Words{2, 3, 4, 5, kNone, kNone, kNone, kNone});
  CHECK(Gathered(false, false, true, 0).targets == Words(8, kNone));
}

TEST_CASE("with a mask, position_ids and document starts begin anew with every document",
          "[batch_inputs]") {
  const Gathered g(true, true, true, 2);
  CHECK(g.position_ids == Ints{0, 1, 2, 0, 0, 0, 1, 2});
  CHECK(g.document_start == Ints{0, 0, 0, 3, 0, 1, 1, 1});
  CHECK(g.targets == Words{2, 3, 4, 5, 7, 8, 9, 10});
}

TEST_CASE("the first token of a document may be no target", "[batch_inputs]") {
  for (const bool mask : {false, true}) {
    const Gathered g(true, mask, false, 2);
    CHECK(g.targets == Words{2, 3, kNone, 5, kNone, 8, 9, 10});
    CHECK(g.position_ids == (mask ? Ints{0, 1, 2, 0, 0, 0, 1, 2} : Ints{0, 1, 2, 3, 0, 1, 2, 3}));
  }
}

TEST_CASE("a mask without documents is refused", "[batch_inputs]") {
  CHECK_THROWS_AS(Gathered(false, true, true, 2), espalier::Error);
  CHECK_THROWS_AS(Gathered(false, false, false, 2), espalier::Error);
}

}  // namespace espalier::testing
