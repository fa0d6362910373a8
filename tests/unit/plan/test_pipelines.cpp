// A pipeline's plan: what each rank holds, counts and does.
#include <catch2/catch.hpp>
#include <cmath>
#include <set>

#include "parallel/schedule/simulation.hpp"
#include "plan/memory_plan.hpp"
#include "plan/step_counts.hpp"
#include "support/parameters.hpp"
#include "train/step/programs.hpp"

namespace espalier {
namespace {

config::Parameters small(int pipeline, const std::string& schedule, int chunks, bool tied) {
  config::Parameters p = testing::small_model();
  p.model.num_hidden_layers = 5;
  p.model.head_dim = 8;
  p.model.tie_word_embeddings = tied;
  p.training.loss_chunk_tokens = 16;
  p.training.global_batch_size = 8;
  p.parallel.pipeline = pipeline;
  p.parallel.schedule = schedule;
  p.parallel.chunks = chunks;
  p.parallel.data = 1;
  return p;
}

struct Way {
  const char* schedule;
  int chunks;
};
const std::vector<Way> kWays = {{"gpipe", 1}, {"1f1b", 1}, {"zb-h1", 1},     {"interleaved", 2},
                                {"zb1p", 2},  {"zb-v", 2}, {"dualpipe-v", 2}};

}  // namespace

TEST_CASE("over the stages of a pipeline every element is counted once in the norm") {
  device::Context context;
  for (const bool tied : {false, true})
    for (const Way& way : kWays)
      for (const int ranks : {2, 3}) {
        if (way.chunks * ranks > 7 || (ranks == 3 && std::string(way.schedule) == "interleaved"))
          continue;
        for (const int data : {1, 2}) {
          config::Parameters p = small(ranks, way.schedule, way.chunks, tied);
          if (std::string(way.schedule) == "zb1p") p.training.global_batch_size = 12;
          p.parallel.data = data;
          p.training.global_batch_size *= data;
          const parallel::GridShape shape{.data = data, .pipeline = ranks};
          std::vector<double> sums;
          std::vector<parallel::TensorSpec> table;
          for (int rank = 0; rank < shape.size(); ++rank) {
            const auto memory = plan::TrainingMemory::backed(p, {shape, rank}, context);
            for (const parallel::LocalTensor& tensor : memory.parameter_store->tensors())
              for (std::int64_t row = 0; row < tensor.gradient.rows; ++row)
                std::fill_n(tensor.gradient.as<float>(row), tensor.gradient.cols, 1.0F);
            const std::span<const double> mine = memory.gradient_norm->square_sums(context);
            sums.resize(mine.size());
            for (std::size_t i = 0; i < mine.size(); ++i) sums[i] += mine[i];
            table = memory.weights->table;
          }
          for (std::size_t i = 0; i < table.size(); ++i) {
            INFO(table[i].name);
            REQUIRE(sums[i] == static_cast<double>(table[i].num_elements()));
          }
        }
      }
}

TEST_CASE("a stage's memory is the slots and messages of its schedule, to the byte") {
  device::Context context;
  for (const Way& way : kWays) {
    const config::Parameters p = small(2, way.schedule, way.chunks, true);
    for (int rank = 0; rank < 2; ++rank) {
      const parallel::ProcessGrid grid({.pipeline = 2}, rank);
      const auto planned = plan::TrainingMemory::planned(p, grid);
      const auto backed = plan::TrainingMemory::backed(p, grid, context);
      CAPTURE(way.schedule, rank);
      CHECK(planned.activation_arena.used_bytes() == backed.activation_arena.used_bytes());
      CHECK(planned.total_bytes() == backed.total_bytes());
      CHECK(backed.activations->chunks.size() == static_cast<std::size_t>(way.chunks));
      for (const model::ChunkActivations& chunk : backed.activations->chunks) {
        CHECK(std::ssize(chunk.slots) == backed.program.buffers.slots);
        CHECK(std::ssize(chunk.deferred) == backed.program.buffers.weight_slots);
      }
      // Slots of a rank lie apart; the same slot of its chunks lies at one place.
      std::set<const void*> places;
      for (const model::Slot& slot : backed.activations->chunks[0].slots)
        places.insert(slot.input().data);
      CHECK(std::ssize(places) == backed.program.buffers.slots);
    }
  }
  // 1f1b keeps as many micro-batches as there are stages from a rank on.
  const auto slots = [&](int rank) {
    return plan::TrainingMemory::planned(small(3, "1f1b", 1, false),
                                         parallel::ProcessGrid({.pipeline = 3}, rank))
        .program.buffers.slots;
  };
  CHECK(slots(0) == 3);
  CHECK(slots(2) == 1);
}

TEST_CASE("the stages of a step together multiply what one rank does") {
  const auto products = [](const config::Parameters& p, const parallel::ProcessGrid& grid) {
    double flops = 0.0;
    for (const auto& [operation, cost] : plan::count_step(p, grid).operations)
      if (operation.m > 0) flops += cost.flops;
    return flops;
  };
  const double whole = products(small(1, "1f1b", 0, true), {{}, 0});
  for (const Way& way : kWays) {
    double sum = 0.0;
    for (int rank = 0; rank < 2; ++rank)
      sum += products(small(2, way.schedule, way.chunks, true), {{.pipeline = 2}, rank});
    INFO(way.schedule);
    CHECK(sum == Approx(whole).epsilon(1e-12));
  }
}

TEST_CASE("forward passes alone come to their end whatever the number of micro-batches") {
  using Shape = pipeline::Placement::Shape;
  for (const Shape shape : {Shape::loop, Shape::v})
    for (const int ranks : {1, 2, 3, 4, 8})
      for (const int chunks : {1, 2, 3}) {
        if (shape == Shape::v && chunks != 2) continue;
        const pipeline::Placement placement{.shape = shape, .ranks = ranks, .chunks = chunks};
        for (const int micro_batches : {1, 2, 5, 32}) {
          CAPTURE(ranks, chunks, micro_batches);
          const pipeline::Program program =
              pipeline::lower(train::forward_schedule(placement, micro_batches));
          const pipeline::Simulation simulation =
              pipeline::simulate(program, pipeline::even_durations(placement, 1.0, 1.0, 1.0));
          REQUIRE(simulation.describe_deadlock().empty());
          for (int rank = 0; rank < ranks; ++rank) {
            const pipeline::RankProgram mine =
                train::forward_program(placement, micro_batches, rank);
            const auto is_forward = [](const pipeline::Step& step) {
              return step.kind == pipeline::StepKind::compute;
            };
            REQUIRE(std::count_if(mine.steps.begin(), mine.steps.end(), is_forward) ==
                    micro_batches * chunks);
            REQUIRE(mine.buffers.local <= (ranks == 1 ? chunks : 1));
          }
        }
      }
}

}  // namespace espalier
