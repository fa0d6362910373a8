// One step of training: what is told to whom, and in which order.
#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <limits>

#include "base/error.hpp"
#include "mpi/model/model_on_grid.hpp"

namespace espalier {
namespace {

using Catch::Matchers::Contains;
using testing::Hdf5Fixture;
using testing::ModelOnGrid;

constexpr double kNotANumber = std::numeric_limits<double>::quiet_NaN();

/// On a grid of data ranks, two at most.
struct Job {
  Job()
      : fixture(testing::fixture_path("untied_k2")),
        data(testing::session().size() > 1 ? 2 : 1),
        model(fixture, testing::parameters_of(fixture, testing::session().size() / data, data,
                                              false, 1, "float32")),
        share(model.share_of(fixture.words("tokens"), 2)) {}

  train::StepResult step(std::int64_t step, const train::StepHooks& hooks = {}) {
    return model.step({.num_micro_batches = 1,
                       .num_targets = 48,
                       .load = [this](std::int64_t) { return share.view(); }},
                      step, hooks);
  }
  std::vector<float> masters() {
    std::vector<float> all;
    for (const optim::StateShard& state : model.memory.optimizer->state()) {
      const std::vector<float> more = model.context.download<float>(state.master);
      all.insert(all.end(), more.begin(), more.end());
    }
    return all;
  }

  Hdf5Fixture fixture;
  int data;
  ModelOnGrid model;
  ModelOnGrid::Tokens share;
};

}  // namespace

TEST_CASE("a step tells its sums, then changes one piece of the state after another") {
  if (testing::gpu_of_test() != nullptr) return;
  Job plain, watched;
  const train::StepResult expected = plain.step(1);
  std::vector<std::string> events;
  std::vector<std::int64_t> overwritten;
  const std::vector<float> before = watched.masters();
  const train::StepResult result = watched.step(
      1,
      {.exchange =
           [&](const train::StepSums& of_rank) {
             events.emplace_back("exchange");
             // One rank of a tensor group tells the group's loss.
             std::vector<double> sums{train::loss_share(watched.model.grid, of_rank.loss)};
             sums.insert(sums.end(), of_rank.square_sums.begin(), of_rank.square_sums.end());
             watched.model.communicators.world->all_reduce_sum(sums);
             return train::StepSums{.loss = sums[0], .square_sums = {sums.begin() + 1, sums.end()}};
           },
       .judge =
           [&](const train::StepFindings& findings) {
             events.emplace_back("judge");
             CHECK(findings.not_finite.empty());
             return true;
           },
       .before_update =
           [&] {
             events.emplace_back("update");
             CHECK(watched.masters() == before);
           },
       .before_overwrite =
           [&](std::int64_t state) {
             if (overwritten.empty()) events.emplace_back("overwrite");
             overwritten.push_back(state);
           }});
  CHECK(events == std::vector<std::string>{"exchange", "judge", "update", "overwrite"});
  CHECK(overwritten.size() == watched.model.memory.optimizer->state().size());
  CHECK(std::is_sorted(overwritten.begin(), overwritten.end()));
  CHECK(result.loss == expected.loss);
  CHECK(result.grad_norm == expected.grad_norm);
  CHECK(watched.masters() == plain.masters());
  CHECK(watched.masters() != before);
}

TEST_CASE(
    "a step that is judged to be left out changes nothing, and the next is as if it was not") {
  if (testing::gpu_of_test() != nullptr) return;
  Job plain, judged;
  const std::vector<float> before = judged.masters();
  const train::StepHooks left_out = {
      .judge = [](const train::StepFindings& findings) { return findings.not_finite.empty(); },
      .before_update = [] { FAIL("no update was to come"); },
      .fault = {.gradient_factor = std::numeric_limits<float>::quiet_NaN()}};
  CHECK_FALSE(judged.step(1, left_out).updated);
  CHECK(judged.masters() == before);
  const train::StepResult expected = plain.step(1);
  const train::StepResult result = judged.step(1);
  CHECK(result.updated);
  CHECK(result.grad_norm == expected.grad_norm);
  CHECK(judged.masters() == plain.masters());
}

TEST_CASE("a step whose sums are not finite names the ranks and changes no weight") {
  if (testing::gpu_of_test() != nullptr) return;
  Job job;
  const int last_data = job.data - 1;
  std::string message;
  const auto failing_step = [&](std::function<train::StepSums(const train::StepSums&)> exchange) {
    const std::vector<float> before = job.masters();
    bool updated = false;
    try {
      job.step(7, {.exchange = std::move(exchange),
                   .judge = [](const train::StepFindings& findings) -> bool {
                     train::fail_not_finite(findings, "Take care");
                   },
                   .before_update = [&] { updated = true; },
                   .before_overwrite = [&](std::int64_t) { updated = true; }});
      FAIL("no error");
    } catch (const Error& error) {
      CHECK(error.status() == ExitStatus::bad_numbers);
      message = error.what();
    }
    CHECK_FALSE(updated);
    CHECK(job.masters() == before);
    CHECK_THAT(message, Contains("step 7") && Contains("no weight was changed. Take care"));
  };
  // Only the sum overflows: no rank is to blame.
  failing_step([](const train::StepSums& mine) {
    return train::StepSums{.loss = mine.loss, .square_sums = {kNotANumber}};
  });
  CHECK_THAT(message, Contains("the gradient is not finite, but only in the sum over the ranks ("));
  // The final norm of the last data rank's tensor group is damaged.
  if (job.model.grid.data_rank() == last_data) {
    const device::View norm = job.model.memory.weights->weights.final_norm.weight;
    std::fill_n(norm.as<float>(), norm.cols, std::numeric_limits<float>::quiet_NaN());
  }
  failing_step({});
  std::string ranks;
  const std::vector<double> blamed = job.model.communicators.world->all_gather(
      job.model.grid.data_rank() == last_data ? 1.0 : 0.0);
  for (std::size_t rank = 0; rank < blamed.size(); ++rank)
    if (blamed[rank] != 0.0) ranks += (ranks.empty() ? "" : ", ") + std::to_string(rank);
  CHECK_THAT(message, Contains("the loss is not finite on rank " + ranks + " ("));
}

}  // namespace espalier
