// Ranks that share the tokens of each sequence compute what one rank does: with documents, which
// change who has which tokens, and whatever heads are gathered at a time.
#include <catch2/catch.hpp>

#include <cmath>

#include "base/text.hpp"
#include "mpi/model/model_on_grid.hpp"

namespace espalier {
namespace {

using testing::fixture_path;
using testing::Hdf5Fixture;
using testing::ModelOnGrid;

/// Where the documents of the two sequences begin.
using Starts = std::array<std::vector<std::int32_t>, 2>;

/// (2, S+1) places of tokens in their documents.
std::vector<std::int32_t> places(const Starts& starts, std::int64_t length) {
  std::vector<std::int32_t> result;
  for (const std::vector<std::int32_t>& of_sequence : starts)
    for (std::int32_t s = 0, begin = 0; s <= length; ++s) {
      if (std::find(of_sequence.begin(), of_sequence.end(), s) != of_sequence.end()) begin = s;
      result.push_back(s - begin);
    }
  return result;
}

struct Outcome {
  double loss, norm;
  /// Of whole tensors, in the order of the table, on every rank.
  std::vector<std::vector<float>> gradients;
};

/// One forward and backward pass of the two sequences of a fixture on a grid without data ranks.
Outcome pass(const Hdf5Fixture& fixture, const config::Parameters& p, parallel::MpiSession& on,
             const std::vector<std::int32_t>& places) {
  ModelOnGrid model(fixture, p, on);
  const std::vector<std::uint32_t> tokens = fixture.words("tokens");
  const std::int64_t row = p.training.sequence_length + 1;
  model.stage.train({.samples = device::view_of(tokens.data(), 2, row),
                     .document_positions = device::view_of(places.data(), 2, row),
                     .num_counted = 2,
                     .document_mask = true,
                     .predict_across = false},
                    {.loss_scale = 1.0F / 48.0F,
                     .first = true,
                     .last = true,
                     .bucket_done =
                         [&](int bucket) {
                           model.memory.parameter_store->accumulated(model.context, bucket, true);
                         },
                     .num_sequences = 2.0});
  std::vector<double> loss{train::loss_share(model.grid, model.stage.take_loss_sum())};
  model.communicators.world->all_reduce_sum(std::span<double>(loss));
  Outcome outcome{.loss = loss[0] / 48.0, .norm = model.gradient_norm(), .gradients = {}};
  const std::vector<parallel::TensorSpec>& table = model.memory.weights->table;
  for (const parallel::TensorSpec& spec : table) {
    // Each element is on one rank, and zero on the others.
    std::vector<double> whole(static_cast<std::size_t>(spec.num_elements()), 0.0);
    for (const optim::StateShard& state : model.memory.optimizer->state()) {
      const parallel::LocalTensor& tensor = model.memory.parameter_store->tensor_of(state.shard);
      if (tensor.spec->name != spec.name || !state.shard.writes) continue;
      const parallel::Rectangle& r = state.shard.rectangle;
      const std::vector<float> values = model.context.download<float>(tensor.gradient.row_range(
          state.shard.row_begin, state.shard.row_end - state.shard.row_begin));
      for (std::int64_t i = r.row_begin; i < r.row_end; ++i)
        for (std::int64_t j = r.col_begin; j < r.col_end; ++j)
          whole[static_cast<std::size_t>(i * spec.cols + j)] =
              double{values[static_cast<std::size_t>((i - r.row_begin) * tensor.gradient.cols + j -
                                                     r.col_begin)]};
    }
    model.communicators.world->all_reduce_sum(std::span<double>(whole));
    outcome.gradients.emplace_back(whole.begin(), whole.end());
  }
  return outcome;
}

}  // namespace

TEST_CASE("documents whose tokens several ranks share have the loss and gradients of one rank") {
  parallel::MpiSession& all = testing::session();
  if (all.size() == 1 || testing::gpu_of_test() != nullptr) return;
  const std::vector<Starts> documents = {
      {{{0}, {0, 24}}},                          // one each; what is predicted last is another's
      {{{0, 5, 6, 17}, {0, 1, 2, 3, 13}}},       // of several lengths, over the borders of blocks
      {{{0, 12}, {0, 8, 16}}},                   // a rank's blocks in one of them
      {{{0, 1, 2, 3, 4, 5, 6, 7, 8}, {0, 20}}},  // many of a token, which have no target
  };
  for (const char* name : {"untied_k2", "tied_k1", "gpt2", "llama3", "moe"}) {
    const Hdf5Fixture fixture(fixture_path(name));
    const bool sparse = name == std::string("moe");
    for (const Starts& starts : documents) {
      config::Parameters p = testing::parameters_of(fixture, 1, 1, false, 1, "float32");
      if (sparse) p.experts.balance = "sequence";
      const std::vector<std::int32_t> where = places(starts, p.training.sequence_length);
      Outcome expected{};
      if (const auto first = all.first_ranks(1)) expected = pass(fixture, p, *first, where);
      for (const auto& [tensor, kv_heads] :
           std::vector<std::pair<int, int>>{{1, 0}, {1, 1}, {2, 0}}) {
        if (all.size() / tensor < 2) continue;
        p.parallel.tensor = tensor;
        p.parallel.sequence_parallel = tensor > 1;
        p.parallel.context = all.size() / tensor;
        p.parallel.context_kv_heads = kv_heads;
        p.parallel.expert = sparse ? 2 : 1;
        const Outcome found = pass(fixture, p, all, where);
        if (all.rank() != 0) continue;  // which has what is expected
        CAPTURE(name, starts, tensor, kv_heads);
        CHECK(found.loss == Approx(expected.loss).epsilon(1e-6));
        CHECK(found.norm == Approx(expected.norm).epsilon(1e-5));
        REQUIRE(found.gradients.size() == expected.gradients.size());
        for (std::size_t i = 0; i < found.gradients.size(); ++i) {
          double largest = 0.0, difference = 0.0;
          for (std::size_t j = 0; j < found.gradients[i].size(); ++j) {
            largest = std::max(largest, std::abs(double{expected.gradients[i][j]}));
            difference = std::max(difference, std::abs(double{found.gradients[i][j]} -
                                                       double{expected.gradients[i][j]}));
          }
          CAPTURE(i);
          CHECK(difference <= 1e-5 * std::max(largest, 1e-3));
        }
      }
    }
  }
}

}  // namespace espalier
