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

namespace {

/// Of two samples of twelve tokens with documents, what a rank gathers whose blocks begin at
/// `starts`, (2, blocks of a sample).
struct GatheredBlocks {
  Words tokens, targets;
  Ints position_ids, document_start;

  GatheredBlocks(Ints starts, std::int64_t block_length, bool mask) {
    constexpr std::int64_t kCols = 13;
    Words samples;
    Ints places;
    for (std::int64_t i = 0; i < 2 * kCols; ++i) {
      samples.push_back(static_cast<std::uint32_t>(100 + i));
      places.push_back(static_cast<std::int32_t>(i % kCols % 5));
    }
    const std::int64_t blocks = static_cast<std::int64_t>(starts.size()) / 2;
    const std::int64_t n = block_length > 0 ? 2 * blocks * block_length : 2 * (kCols - 1);
    tokens = targets = Words(static_cast<std::size_t>(n));
    position_ids = document_start = Ints(static_cast<std::size_t>(n), -1);
    const auto row = [n](auto& values) { return device::view_of(values.data(), 1, n); };
    device::Context context;
    kernels::batch_inputs(
        context, {.samples = device::view_of(samples.data(), 2, kCols),
                  .document_positions = device::view_of(places.data(), 2, kCols),
                  .num_counted = 1,
                  .predict_across = false,
                  .tokens = row(tokens),
                  .targets = row(targets),
                  .position_ids = row(position_ids),
                  .document_start = mask ? row(document_start) : device::View{},
                  .block_starts =
                      starts.empty() ? device::ConstView{}
                                     : device::ConstView(device::view_of(starts.data(), 2, blocks)),
                  .block_length = block_length});
  }
};

}  // namespace

TEST_CASE("ranks with blocks of the tokens together gather whole samples", "[batch_inputs]") {
  const Ints starts[] = {{0, 8, 2, 4}, {2, 10, 6, 8}, {4, 6, 0, 10}};
  for (const bool mask : {false, true}) {
    const GatheredBlocks whole({}, 0, mask);
    std::size_t num_seen = 0;
    for (const Ints& mine : starts) {
      const GatheredBlocks part(mine, 2, mask);
      REQUIRE(part.tokens.size() == 8);
      for (std::size_t i = 0; i < 8; ++i, ++num_seen) {
        const std::size_t token = i / 4 * 12 + static_cast<std::size_t>(mine[i / 2]) + i % 2;
        CAPTURE(mask, mine, i);
        CHECK(part.tokens[i] == whole.tokens[token]);
        CHECK(part.targets[i] == whole.targets[token]);
        CHECK(part.position_ids[i] == whole.position_ids[token]);
        CHECK(part.document_start[i] == whole.document_start[token]);
      }
    }
    CHECK(num_seen == whole.tokens.size());
  }
}

TEST_CASE("blocks of tokens and where they begin come together", "[batch_inputs]") {
  CHECK_NOTHROW(GatheredBlocks({0, 6, 0, 6}, 6, true));
  CHECK_THROWS_AS(GatheredBlocks({}, 6, true), espalier::Error);
  CHECK_THROWS_AS(GatheredBlocks({0, 6, 0, 6}, 0, true), espalier::Error);
  CHECK_THROWS_AS(GatheredBlocks({0, 7, 0, 6}, 6, true), espalier::Error);   // behind its end
  CHECK_THROWS_AS(GatheredBlocks({0, 6, -1, 6}, 6, true), espalier::Error);  // before it
}

TEST_CASE("a mask without documents is refused", "[batch_inputs]") {
  CHECK_THROWS_AS(Gathered(false, true, true, 2), espalier::Error);
  CHECK_THROWS_AS(Gathered(false, false, false, 2), espalier::Error);
}

}  // namespace espalier::testing
