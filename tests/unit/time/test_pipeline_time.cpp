#include <array>
#include <catch2/catch.hpp>
#include <string>

#include "plan/stage_counts.hpp"
#include "plan/time/collective_time.hpp"
#include "plan/time/pipeline_layout.hpp"
#include "plan/time/pipeline_time.hpp"
#include "support/parameters.hpp"
#include "train/step/programs.hpp"
#include "unit/estimate/planned_devices.hpp"

using namespace espalier;

namespace {

struct Way {
  const char* schedule;
  int chunks;
};
constexpr std::array kWays{Way{"gpipe", 1},       Way{"1f1b", 1}, Way{"zb-h1", 1},
                           Way{"interleaved", 2}, Way{"zb1p", 2}, Way{"zb-v", 2},
                           Way{"dualpipe-v", 2}};

config::Parameters with_pipeline(const Way& way, int pipeline, int micro_batches) {
  config::Parameters p = testing::qwen3_8b();
  p.model.num_hidden_layers = 7;
  p.model.vocab_size = 2048;
  p.training.sequence_length = 512;
  p.training.micro_batch_size = 1;
  p.training.global_batch_size = micro_batches;
  p.training.dtype = "bfloat16";
  p.parallel.tensor = p.parallel.data = 1;
  p.parallel.pipeline = pipeline;
  p.parallel.schedule = way.schedule;
  p.parallel.chunks = way.chunks;
  return p;
}

void check_equal(const plan::StepCounts& counts, const plan::StepCounts& expected) {
  CHECK(counts.operations == expected.operations);
  CHECK(counts.collectives == expected.collectives);
}

}  // namespace

TEST_CASE("a step of a pipeline's rank is its passes and what comes once") {
  for (const Way& way : kWays) {
    CAPTURE(way.schedule);
    for (const int micro_batches : {4, 12}) {
      const config::Parameters p = with_pipeline(way, 2, micro_batches);
      const parallel::GridShape shape{.pipeline = 2};
      for (const int rank : {0, 1}) {
        const plan::RankCounts counts = plan::count_rank(p, {shape, rank});
        REQUIRE(counts.chunks.size() == static_cast<std::size_t>(way.chunks));
        check_equal(counts.at(micro_batches), plan::count_step(p, {shape, rank}));
        for (const plan::PassCounts& pass : counts.chunks) {
          CHECK(pass.inputs.flops() > 0.9 * pass.forward.flops());
          // A backward pass that some micro-batch has in two is counted in two.
          const bool is_whole = pass.weights.operations.empty();
          CHECK(is_whole ==
                (std::string(way.schedule) == "gpipe" || std::string(way.schedule) == "1f1b" ||
                 std::string(way.schedule) == "interleaved"));
        }
      }
    }
  }
}

TEST_CASE("a stage put together from a few blocks counts what a whole rank counts") {
  for (const Way& way : kWays)
    for (const char* recompute : {"none", "selective", "mlp", "full"})
      for (const bool tied : {false, true}) {
        config::Parameters p = with_pipeline(way, 2, 8);
        p.model.num_hidden_layers = 11;
        p.model.tie_word_embeddings = tied;
        p.memory.recompute = recompute;
        CAPTURE(way.schedule, recompute, tied);
        const parallel::GridShape shape{.pipeline = 2};
        plan::CountedStages stages(p, device::Backend::cuda, 100);
        plan::CountedUpdates updates(p, device::Backend::cuda, 100);
        const plan::PipelineLayout layout = plan::PipelineLayout::of(p);
        config::Parameters few = p;
        few.training.global_batch_size = plan::few_micro_batches(p, shape);
        const pipeline::Schedule schedule = train::training_schedule(few, shape);
        for (const int rank : {0, 1}) {
          const std::vector<int> shown = plan::shown_micro_batches(
              schedule.actions[static_cast<std::size_t>(rank)], schedule.placement);
          const plan::RankCounts counts =
              plan::count_rank(p, {shape, rank}, device::Backend::cuda, 100);
          plan::StageKind all;
          plan::StepCounts once;
          for (std::size_t chunk = 0; chunk < counts.chunks.size(); ++chunk) {
            const plan::PlacedStage& stage = layout.ranks[static_cast<std::size_t>(rank)][chunk];
            const plan::StageCounts& own = stages.of(stage.kind);
            const plan::StageCounts::Backward& back = own.backward(stage.timed.is_at_once);
            CHECK(counts.chunks[chunk].forward.operations == own.forward.operations);
            // A first micro-batch replaces gradients, and dualpipe-v divides no later one of the
            // last stage.
            CHECK((shown[chunk] > 0 || (way.schedule == std::string("dualpipe-v") && chunk == 1)));
            if (shown[chunk] > 0)
              CHECK(counts.chunks[chunk].inputs.operations ==
                    (stage.timed.is_divided ? back.inputs : back.whole).operations);
            all.num_layers += stage.kind.num_layers;
            all.has_embedding |= stage.kind.has_embedding;
            all.has_head |= stage.kind.has_head;
          }
          // Of the update and of what is summed; products and schedules that change within a step
          // are the passes' part.
          for (const char* name : {"adamw", "sums_of_squares"})
            CHECK(counts.once.operations.at(device::Operation{name}) ==
                  updates.of(all).operations.at(device::Operation{name}));
        }
      }
}

TEST_CASE("a step without a pipeline is counted alike") {
  config::Parameters p = with_pipeline({"1f1b", 1}, 1, 6);
  p.parallel.data = 2;
  p.training.global_batch_size = 12;
  const parallel::ProcessGrid grid({.data = 2}, 1);
  const plan::RankCounts counts = plan::count_rank(p, grid);
  check_equal(counts.at(6), plan::count_step(p, grid));
}

TEST_CASE("the time of a pipeline is that of its busiest rank and what that waits") {
  const config::HardwareParameters h = testing::device();
  for (const Way& way : kWays) {
    CAPTURE(way.schedule);
    const config::Parameters p = with_pipeline(way, 2, 8);
    const plan::PipelineTime time = plan::pipeline_time(p, h);
    const pipeline::Simulation& s = time.simulation;
    CHECK(s.deadlock.empty());
    CHECK(time.step.bubble > 0.0);
    CHECK(time.step.step() >= s.makespan);
    CHECK(time.step.step() == plan::predict_step(p, h).step());
    // Update and norm come behind the passes, and take less than they do.
    CHECK(time.step.step() < 2.0 * s.makespan);
    double work = 0.0;
    for (int stage = 0; stage < time.schedule.placement.num_stages(); ++stage) {
      const auto at = static_cast<std::size_t>(stage);
      work += 8.0 *
              (time.durations.forward[at] + time.durations.inputs[at] + time.durations.weights[at]);
    }
    double busy = 0.0;
    for (const pipeline::RankSimulation& rank : s.ranks) busy += rank.busy;
    CHECK(busy == Approx(work));
  }
}

TEST_CASE("more micro-batches make a bubble smaller, and so do chunks") {
  const config::HardwareParameters h = testing::device();
  const auto bubble = [&](const Way& way, int micro_batches) {
    return plan::pipeline_time(with_pipeline(way, 4, micro_batches), h).bubble;
  };
  CHECK(bubble({"1f1b", 1}, 32) < bubble({"1f1b", 1}, 8));
  CHECK(bubble({"zb-h1", 1}, 8) < bubble({"1f1b", 1}, 8));
  // Of stages that are nearly alike: (p - 1) / (m + p - 1), and what the head adds.
  config::Parameters p = with_pipeline({"1f1b", 1}, 4, 8);
  p.model.num_hidden_layers = 40;
  CHECK(plan::pipeline_time(p, h).bubble == Approx(3.0 / 11.0).margin(0.03));
}

TEST_CASE("stages on other nodes wait longer for messages") {
  const config::HardwareParameters h = testing::device();
  config::Parameters p = with_pipeline({"1f1b", 1}, 2, 8);
  const double near = plan::pipeline_time(p, h).durations.message;
  const double bytes = 512.0 * 4096 * 2;
  CHECK(near == Approx(plan::message_seconds(bytes, 1, h)));
  p.parallel.data = 8;
  p.training.global_batch_size = 64;
  CHECK(plan::pipeline_time(p, h).durations.message == Approx(plan::message_seconds(bytes, 8, h)));
  CHECK(plan::message_seconds(bytes, 8, h) > near);
  p.parallel.context = 2;  // a rank has half of the tokens
  CHECK(plan::pipeline_time(p, h).durations.message ==
        Approx(plan::message_seconds(bytes / 2.0, 16, h)));
}

TEST_CASE("the passes of a stage gather keys and values, and layouts of one run are kept apart") {
  config::HardwareParameters h = testing::device();
  plan::StepTimes times(h);
  for (const int context : {1, 4, 2})
    for (const bool alike : {true, false}) {
      CAPTURE(context, alike);
      config::Parameters p = with_pipeline({"1f1b", 1}, 2, 8);
      p.training.sequence_length = 4096;
      p.parallel.context = context;
      if (!alike) {
        p.memory.recompute = "budget";  // blocks may differ: every rank is counted
        p.memory.recompute_blocks = {4, 1, 1, 1};
      }
      const plan::StepTime of_one = plan::predict_step(p, h), of_many = times.of(p);
      CHECK(of_many.step() == of_one.step());
      CHECK(of_many.context_exposed == of_one.context_exposed);
      CHECK((of_one.context_exposed > 0.0) == (context > 1));
      CHECK(times.at_least(p) <= of_one.step());
    }
}

TEST_CASE("of many micro-batches a few rounds are simulated, and the rest takes as long") {
  const config::HardwareParameters h = testing::device();
  for (const Way& way : kWays) {
    CAPTURE(way.schedule);
    const config::Parameters p = with_pipeline(way, 2, 96);
    const plan::PipelineTime time = plan::pipeline_time(p, h);
    const pipeline::Simulation whole = pipeline::simulate(time.schedule, time.durations);
    CHECK(time.simulation.makespan < 0.5 * whole.makespan);
    CHECK(time.passes == Approx(whole.makespan).epsilon(1e-3));
    CHECK(time.bubble == Approx(whole.bubble()).margin(1e-3));
  }
}
