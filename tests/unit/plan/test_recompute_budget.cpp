// memory.recompute = "budget": which mix of modes is chosen.
#include <catch2/catch.hpp>
#include <map>

#include "base/text.hpp"

#include "plan/memory_purposes.hpp"
#include "plan/recompute_budget.hpp"
#include "plan/step_counts.hpp"
#include "support/expect_error.hpp"
#include "support/parameters.hpp"

using namespace espalier;
using model::BlocksOfModes;

namespace {

constexpr double kGiB = 1 << 30;

config::Parameters small_run() {
  config::Parameters p = testing::qwen3_8b();
  p.model.hidden_size = 72;
  p.model.intermediate_size = 200;
  p.model.num_hidden_layers = 4;
  p.model.num_attention_heads = 4;
  p.model.num_key_value_heads = 2;
  p.model.head_dim = 20;
  p.model.vocab_size = 1021;
  p.training.sequence_length = 52;
  p.training.micro_batch_size = 1;
  p.training.global_batch_size = 6;
  p.parallel.data = 1;
  p.memory.recompute = "budget";
  return p;
}

parallel::GridShape shape_of(const config::Parameters& p) {
  return {.tensor = static_cast<int>(p.parallel.tensor),
          .context = static_cast<int>(p.parallel.context),
          .data = static_cast<int>(p.parallel.data)};
}

config::Parameters with_blocks(config::Parameters p, const BlocksOfModes& blocks) {
  p.memory.recompute_blocks.assign(blocks.begin(), blocks.end());
  return p;
}

plan::Room room_of(std::int64_t bytes, device::Backend backend) {
  return {.backend = backend, .free_bytes = bytes, .whose = "a test"};
}

/// Of the rank that needs most, by the plan of every rank.
std::int64_t needed(const config::Parameters& p, const plan::Room& room) {
  const parallel::GridShape shape = shape_of(p);
  std::int64_t most = 0;
  for (int rank = 0; rank < shape.size(); ++rank) {
    const auto memory = plan::TrainingMemory::planned(p, {shape, rank}, room.backend);
    most = std::max(most, plan::needed_bytes(p, shape, memory, room));
  }
  return most;
}

std::vector<BlocksOfModes> all_mixes(std::int64_t layers) {
  std::vector<BlocksOfModes> all;
  for (std::int64_t a = 0; a <= layers; ++a)
    for (std::int64_t b = 0; a + b <= layers; ++b)
      for (std::int64_t c = 0; a + b + c <= layers; ++c)
        all.push_back({a, b, c, layers - a - b - c});
  return all;
}

/// FLOPs and bytes that recomputing takes, from the counts of the whole step with that mix.
double extra_work(const config::Parameters& p, const plan::Room& room) {
  config::Parameters one = p;
  one.parallel.data = 1;
  one.training.global_batch_size = one.training.micro_batch_size;
  const plan::StepCounts counts =
      plan::count_step(one,
                       {{.tensor = static_cast<int>(p.parallel.tensor),
                         .context = static_cast<int>(p.parallel.context)},
                        0},
                       room.backend);
  double cost = 40.0 * static_cast<double>(counts.sent_bytes());
  for (const auto& [operation, of] : counts.operations) cost += std::max(of.flops, 20.0 * of.bytes);
  return cost;
}

}  // namespace

TEST_CASE("of all mixes that fit a budget takes one that recomputes least, to the byte") {
  config::Parameters p = small_run();
  p.parallel.tensor = GENERATE(1, 2);
  p.parallel.context = GENERATE(1, 2);
  p.parallel.data = GENERATE(1, 3);
  p.parallel.sequence_parallel = GENERATE(false, true);
  p.training.dtype = p.parallel.data == 3 ? "float32" : "bfloat16";
  const plan::Room everything = room_of(INT64_MAX, device::Backend::host);
  struct Known {
    std::int64_t bytes;
    double work;
  };
  std::map<BlocksOfModes, Known> known;
  for (const BlocksOfModes& blocks : all_mixes(4)) {
    const config::Parameters with = with_blocks(p, blocks);
    known[blocks] = {needed(with, everything), extra_work(with, everything)};
  }
  for (const auto& [given, of_given] : known)
    for (const std::int64_t less : {0, 1}) {
      const plan::Room room = room_of(of_given.bytes - less, device::Backend::host);
      const plan::RecomputeChoice choice = plan::choose_recompute(p, shape_of(p), room);
      CAPTURE(plan::describe_blocks(given), less, plan::describe_blocks(choice.blocks));
      const Known& chosen = known.at(choice.blocks);
      CHECK(choice.needed_bytes == chosen.bytes);
      bool some_fits = false;
      for (const auto& [other, of_other] : known) {
        if (of_other.bytes > room.free_bytes) continue;
        some_fits = true;
        CHECK(chosen.work <= of_other.work * (1.0 + 1e-12));
      }
      CHECK(choice.fits == some_fits);
      if (choice.fits) CHECK(chosen.bytes <= room.free_bytes);
    }
}

TEST_CASE("a budget for everything recomputes nothing, one for nothing everything") {
  const config::Parameters p = small_run();
  const auto backend = GENERATE(device::Backend::host, device::Backend::emulated);
  const auto most = plan::choose_recompute(p, {}, room_of(std::int64_t{1} << 40, backend));
  CHECK(most.blocks == BlocksOfModes{4, 0, 0, 0});
  CHECK(most.fits);
  const auto least = plan::choose_recompute(p, {}, room_of(1, backend));
  CHECK(least.blocks == BlocksOfModes{0, 0, 0, 4});
  CHECK_FALSE(least.fits);
}

TEST_CASE("every rank of a grid chooses what the rank that needs most can do") {
  config::Parameters p = small_run();
  p.parallel.tensor = 2;
  p.parallel.data = 3;  // the optimizer's rows do not divide: ranks differ
  const plan::Room everything = room_of(INT64_MAX, device::Backend::host);
  const std::int64_t half = (needed(with_blocks(p, {4, 0, 0, 0}), everything) +
                             needed(with_blocks(p, {0, 0, 0, 4}), everything)) /
                            2;
  p.device.memory_gib = static_cast<double>(half) / kGiB;
  std::int64_t most = 0, least = INT64_MAX;
  model::RecomputeMix mix;
  for (int rank = 0; rank < 6; ++rank) {
    const auto memory = plan::TrainingMemory::planned(p, {shape_of(p), rank});
    const std::int64_t bytes = plan::needed_bytes(p, shape_of(p), memory, everything);
    most = std::max(most, bytes);
    least = std::min(least, bytes);
    if (rank == 0) mix = memory.activations->shape.recompute;
    CHECK(memory.activations->shape.recompute == mix);
  }
  CHECK(mix.any());
  CHECK(least < most);
  CHECK(most <= half);
}

TEST_CASE("a mix that is given is taken, whatever there is") {
  config::Parameters p = with_blocks(small_run(), {1, 0, 2, 1});
  p.device.memory_gib = 4000.0;
  const auto memory = plan::TrainingMemory::planned(p, {{}, 0});
  CHECK(memory.activations->shape.recompute == model::RecomputeMix({1, 0, 2, 1}));
  const plan::Room room = plan::room_of(p.device, device::Backend::host);
  CHECK(plan::with_recompute_chosen(p, {}, room).memory.recompute_blocks ==
        p.memory.recompute_blocks);
  testing::expect_words(plan::describe_recompute(p, {}, room),
                        {"recompute: 1 block none, 2 mlp, 1 full", "fits", "of 3.91 TiB"});
}

TEST_CASE("a budget without a size says what to set") {
  const config::Parameters p = small_run();
  const std::string message = testing::message_of([&] {
    plan::TrainingMemory::planned(p, {{}, 0});
  });
  testing::expect_words(message, {"memory.recompute = \"budget\"", "device.memory_gib"});
}

TEST_CASE("where a budget does not suffice, what would help does not name recomputation") {
  config::Parameters p = testing::qwen3_8b();
  p.parallel.data = 1;
  p.training.micro_batch_size = 2;
  p.training.global_batch_size = 2;
  p.memory.recompute = "budget";
  const std::string why =
      plan::why_not_fitting(p, {{}, 0}, room_of(std::int64_t{1} << 30, device::Backend::emulated));
  testing::expect_words(why, {"what would help", "training.micro_batch_size = 1",
                              "parallel.tensor = ", "then", "saves"});
  CHECK(why.find("memory.recompute") == std::string::npos);
  // The plan that does not fit is the smallest there is.
  config::Parameters full = p;
  full.memory.recompute = "full";
  CHECK(why.find(human_bytes(static_cast<double>(
            plan::TrainingMemory::planned(full, {{}, 0}, device::Backend::emulated)
                .total_bytes()))) != std::string::npos);
}

TEST_CASE("purposes add up to what a rank needs, and kept bytes are those of the arena") {
  config::Parameters p = small_run();
  p.memory.recompute = GENERATE("none", "mlp");
  p.checkpoint.interval = GENERATE(0, 100);
  p.parallel.tensor = 2;
  const auto backend =
      GENERATE(device::Backend::host, device::Backend::cuda, device::Backend::emulated);
  const plan::Room room = room_of(INT64_MAX, backend);
  for (int rank = 0; rank < 2; ++rank) {
    const parallel::ProcessGrid grid(shape_of(p), rank);
    const auto memory = plan::TrainingMemory::planned(p, grid, backend);
    std::int64_t sum = 0, kept = 0, copies = 0;
    for (const plan::MemoryPurpose& purpose : plan::memory_purposes(p, grid, room)) {
      if (purpose.kind != plan::MemoryPurpose::Kind::beside) sum += purpose.bytes;
      if (purpose.name == model::kKeptPart) kept = purpose.bytes;
      if (purpose.name.starts_with("copies for saves")) copies = purpose.bytes;
    }
    CHECK(sum == plan::needed_bytes(p, shape_of(p), memory, room));
    CHECK((copies == memory.optimizer_arena.used_bytes()) == (p.checkpoint.interval > 0));
    const auto per_token = plan::kept_bytes_per_token(p, grid, room);
    const double blocks = 4.0 * 52.0 * per_token[p.memory.recompute == "none" ? 0 : 2];
    CHECK(static_cast<double>(kept) == Approx(blocks).epsilon(1e-12));
  }
}
