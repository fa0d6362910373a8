// What is planned before a run is what the run's arenas hold, to the byte.
#include <catch2/catch.hpp>
#include <cmath>

#include "mpi/model/model_on_grid.hpp"

namespace espalier {
namespace {

using testing::Hdf5Fixture;
using testing::ModelOnGrid;

struct Combination {
  int ranks, tensor;
  const char* family;  ///< a fixture: which family, tied or not, how many kv heads
  const char* dtype;
  const char* recompute;
  std::vector<std::int64_t> blocks = {};  ///< of a budget
  bool sequence_parallel = false;
  int zero_stage = 1;
  bool documents = false;
  std::int64_t sequence_length = 24, loss_chunk = 7, micro_batch = 1;
  bool overlap_tensor = false;
  int expert = 1;
  double capacity = 2.0;
  const char* balance = "sequence";
  int context = 1, kv_heads = 0;
};

// Every line is one combination that is planned, run and measured.
const std::vector<Combination> kCombinations = {
    {1, 1, "tied_k1", "float32", "none"},
    {1, 1, "untied_k2", "bfloat16", "none"},
    {1, 1, "untied_k2", "bfloat16", "selective"},
    {1, 1, "untied_k2", "bfloat16", "mlp"},
    {1, 1, "untied_k2", "bfloat16", "full"},
    {1, 1, "untied_k2", "float32", "budget", {1, 0, 0, 1}},
    {1, 1, "tied_k2", "bfloat16", "budget", {0, 1, 1, 0}, false, 0},
    {1, 1, "llama3", "bfloat16", "mlp", {}, false, 1, true},
    {1, 1, "llama3", "float32", "full", {}, false, 0, false, 17, 5},
    {1, 1, "gpt2", "bfloat16", "selective", {}, false, 1, true},
    {1, 1, "gpt2", "float32", "none", {}, false, 1, false, 13, 0},
    {1, 1, "no_qk_norm", "bfloat16", "budget", {0, 0, 1, 1}, false, 1, true, 24, 1000, 2},

    {1, 1, "moe", "bfloat16", "none"},
    {1, 1, "moe", "float32", "full", {}, false, 1, false, 24, 7, 2, false, 1, 0.3, "global"},
    {1, 1, "moe_mixed", "bfloat16", "budget", {1, 0, 0, 1}, false, 1, true},

    {2, 1, "moe", "bfloat16", "selective", {}, false, 1, false, 24, 7, 2, false, 2, 0.5, "bias"},
    {2, 2, "moe_mixed", "float32", "none", {}, true, 1, false, 24, 7, 1, true, 2, 100.0, "none"},
    {2, 2, "moe", "float32", "mlp", {}, true, 0, false, 20, 7, 2, false, 1, 2.0, "huggingface"},
    {2, 1, "tied_k1", "bfloat16", "none"},
    {2, 1, "untied_k2", "float32", "none", {}, false, 0},
    {2, 1, "llama3", "bfloat16", "budget", {1, 1, 0, 0}, false, 1, true},
    {2, 1, "gpt2", "float32", "full"},
    {2, 2, "tied_k2", "bfloat16", "none", {}, false},
    {2, 2, "tied_k2", "bfloat16", "none", {}, true},
    {2, 2, "untied_k1", "float32", "mlp", {}, true, 0},
    {2, 2, "untied_k1", "bfloat16", "full", {}, true, 1, true},
    {2, 2, "untied_k2", "bfloat16", "budget", {1, 0, 1, 0}, true, 1, false, 24, 7, 1, true},
    {2, 2, "llama3", "float32", "selective", {}, false, 1, false, 20, 6, 2},
    {2, 2, "gpt2", "bfloat16", "budget", {0, 1, 0, 1}, true, 1, true, 16},
    {2, 2, "no_qk_norm", "float32", "none", {}, true, 1, false, 24, 0, 2},

    {4, 1, "untied_k2", "bfloat16", "mlp"},
    {4, 1, "tied_k1", "float32", "budget", {1, 0, 0, 1}, false, 0},
    {4, 2, "tied_k2", "bfloat16", "none", {}, true},
    {4, 2, "untied_k1", "float32", "full", {}, false, 0, true},
    {4, 2, "llama3", "bfloat16", "budget", {0, 1, 1, 0}, true, 1, true},
    {4, 2, "gpt2", "bfloat16", "selective", {}, true, 1, false, 24, 7, 2},
    {4, 4, "tied_k1", "bfloat16", "none", {}, true},
    {4, 4, "untied_k2", "bfloat16", "mlp", {}, true, 1, true},
    {4, 4, "untied_k1", "float32", "full", {}, false, 1, false, 24, 7, 1, true},
    {4, 4, "llama3", "float32", "budget", {0, 0, 1, 1}, true, 0, false, 20, 3},
    {4, 4, "tied_k2", "bfloat16", "budget", {1, 0, 0, 1}, true, 1, true, 24, 0, 2, true},
    {4, 4, "gpt2", "float32", "mlp", {}, true, 1, false, 12},
    {4, 2, "moe", "bfloat16", "mlp", {}, true, 1, false, 24, 7, 1, false, 4},
    {4, 1, "moe_mixed", "float32", "full", {}, false, 1, false, 24, 7, 1, false, 4, 0.2, "bias"},

    {2, 1, "tied_k2", "bfloat16", "none", {}, false, 1, true, 24, 7, 2, false, 1, 2, "none", 2, 1},
    {2, 1, "gpt2", "float32", "mlp", {}, false, 0, false, 26, 0, 1, false, 1, 2, "none", 2, 3},
    {4, 1, "untied_k1", "float32", "full", {}, false, 1, true, 32, 7, 1, false, 1, 2, "none", 4},
    {4, 2, "untied_k2", "bfloat16", "none", {}, true, 1, true, 24, 7, 1, true, 1, 2, "none", 2},
    {4, 1, "moe", "float32", "mlp", {}, false, 1, false, 24, 7, 2, false, 4, 0.3, "batch", 2, 1},
};

config::Parameters parameters_of(const Combination& c, const Hdf5Fixture& fixture) {
  const int data = c.ranks / c.tensor / c.context;
  config::Parameters p =
      testing::parameters_of(fixture, c.tensor, data, c.sequence_parallel, c.zero_stage, c.dtype);
  p.memory.recompute = c.recompute;
  p.memory.recompute_blocks = c.blocks;
  p.training.sequence_length = c.sequence_length;
  p.training.loss_chunk_tokens = c.loss_chunk;
  p.training.micro_batch_size = c.micro_batch;
  p.training.global_batch_size = c.micro_batch * data;
  p.parallel.context = c.context;
  p.parallel.context_kv_heads = c.kv_heads;
  p.parallel.overlap_tensor = c.overlap_tensor;
  p.data.document_mask = c.documents;
  p.parallel.expert = c.expert;
  p.experts.capacity_factor = c.capacity;
  p.experts.balance = c.balance;
  return p;
}

/// A whole step, which an arena that is too small does not survive.
void take_a_step(ModelOnGrid& model) {
  const config::TrainingParameters& t = model.parameters.training;
  const std::int64_t rows = t.micro_batch_size, length = t.sequence_length + 1;
  std::vector<std::uint32_t> tokens;
  std::vector<std::int32_t> places;
  for (std::int64_t i = 0; i < rows * length; ++i) {
    tokens.push_back(static_cast<std::uint32_t>((7 * i + model.grid.data_rank()) %
                                                model.parameters.model.vocab_size));
    places.push_back(static_cast<std::int32_t>(i % length % 5));
  }
  model::Batch batch{.samples = device::view_of(tokens.data(), rows, length), .num_counted = rows};
  batch.document_mask = model.parameters.data.document_mask;
  if (batch.document_mask) batch.document_positions = device::view_of(places.data(), rows, length);
  const train::StepResult result = model.step(
      {.num_micro_batches = 1,
       .num_targets = static_cast<std::uint64_t>(t.global_batch_size * t.sequence_length),
       .num_sequences = t.global_batch_size,
       .load = [&](std::int64_t) { return batch; }},
      /*step=*/1);
  CHECK(std::isfinite(result.loss));
}

std::vector<const device::Arena*> arenas_of(const plan::TrainingMemory& memory) {
  return {&memory.weight_arena, &memory.gradient_arena, &memory.activation_arena,
          &memory.optimizer_arena};
}

}  // namespace

TEST_CASE("at least thirty combinations are planned and measured") {
  CHECK(kCombinations.size() >= 30);
}

TEST_CASE("planned memory is what the arenas of a run hold, to the byte") {
  int number = 0;
  for (const Combination& c : kCombinations) {
    ++number;
    if (c.ranks != testing::session().size()) continue;
    if (c.context > 1 && testing::gpu_of_test() != nullptr) continue;
    CAPTURE(number, c.family, c.tensor, c.dtype, c.recompute, c.blocks, c.sequence_parallel,
            c.zero_stage, c.documents, c.context);
    const config::Parameters p = parameters_of(c, Hdf5Fixture(testing::fixture_path(c.family)));
    ModelOnGrid model(p, testing::gpu_of_test());
    take_a_step(model);
    const device::Backend backend = model.context.backend();
    const parallel::GridShape shape = model.grid.shape();
    const auto planned =
        plan::TrainingMemory::planned(p, parallel::ProcessGrid(shape, model.grid.rank()), backend);
    const auto plans = arenas_of(planned), taken = arenas_of(model.memory);
    for (std::size_t i = 0; i < plans.size(); ++i) {
      INFO(plans[i]->name());
      CHECK(plans[i]->used_bytes() > 0);
      CHECK(plans[i]->used_bytes() == taken[i]->used_bytes());
      // An arena is backed with no more than its plan, on the host in whole pages.
      CHECK(taken[i]->capacity_bytes() - plans[i]->used_bytes() >= 0);
      CHECK(taken[i]->capacity_bytes() - plans[i]->used_bytes() < 4096);
      const auto parts = plans[i]->parts();
      REQUIRE(parts.size() == taken[i]->parts().size());
      std::int64_t of_parts = 0;
      for (std::size_t part = 0; part < parts.size(); ++part) {
        CHECK(parts[part].name == taken[i]->parts()[part].name);
        CHECK(parts[part].bytes == taken[i]->parts()[part].bytes);
        of_parts += parts[part].bytes;
      }
      CHECK(of_parts == plans[i]->used_bytes());
    }
    CHECK(planned.total_bytes() == model.memory.total_bytes());
  }
}

}  // namespace espalier
