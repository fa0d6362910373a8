// Which stream waits for which when the ranks of a context group exchange keys and values: on a GPU
// each wait that is missing is a race, which no result of an emulated one shows.
#include <algorithm>
#include <catch2/catch.hpp>

#include "model/stage.hpp"
#include "support/written_gpu.hpp"

namespace espalier {
namespace {

using testing::Log;
using testing::WrittenCommunicator;
using testing::WrittenGpu;

constexpr std::int64_t kLength = 512;  ///< S, of which each of two ranks has 2 blocks of 128

model::Architecture small_architecture(std::int64_t num_heads, std::int64_t num_kv_heads) {
  config::Parameters p;
  p.model.vocab_size = 64;
  p.model.hidden_size = 32;
  p.model.intermediate_size = 32;
  p.model.num_hidden_layers = 1;
  p.model.num_attention_heads = num_heads;
  p.model.num_key_value_heads = num_kv_heads;
  p.model.head_dim = 16;
  p.model.max_position_embeddings = kLength;
  return model::Architecture::from(p.model);
}

model::ActivationShape shape_of(std::int64_t kv_heads_at_a_time) {
  model::ActivationShape shape{};
  shape.micro_batch_size = 1;
  shape.sequence_length = kLength;
  shape.loss_chunk_tokens = kLength;
  shape.tensor_size = 1;
  shape.context_size = 2;
  shape.kv_heads_at_a_time = kv_heads_at_a_time;
  shape.training = true;
  shape.on_gpu = true;
  return shape;
}

/// Rank 0 of two context ranks.
struct Job {
  explicit Job(std::int64_t kv_heads_at_a_time) {
    const model::ActivationShape shape = shape_of(kv_heads_at_a_time);
    comm.tensor = std::make_unique<WrittenCommunicator>(1, gpu->log);
    comm.context = std::make_unique<WrittenCommunicator>(2, gpu->log);
    weights.emplace(architecture, grid, DType::f32, weight_arena, &gradient_arena);
    activations.emplace(weights->sizes(), shape, DType::f32, activation_arena);
    stage.emplace(architecture, *weights, *activations, context, comm);
    const std::vector<std::uint32_t> samples(kLength + 1);
    stage->load(0, {.samples = {samples.data(), DType::u32, 1, kLength + 1, kLength + 1},
                    .num_counted = 1});
  }
  /// What `pass` adds to the log.
  template <class Pass>
  Log log_of(Pass&& pass) {
    gpu->log.clear();
    pass();
    Log log = gpu->log;
    // Numbers of the log are those of its entries, of which only these are looked at.
    std::erase_if(log, [](const std::string& line) {
      return line.find("context") == std::string::npos && line.find("rows") == std::string::npos;
    });
    return log;
  }

  std::shared_ptr<WrittenGpu> gpu = std::make_shared<WrittenGpu>();
  device::Context context{gpu, 1 << 20};
  device::Arena weight_arena = device::Arena::backed("weights", 1 << 20, gpu);
  device::Arena gradient_arena = device::Arena::backed("gradients", 1 << 20, gpu);
  device::Arena activation_arena = device::Arena::backed("activations", 1 << 24, gpu);
  parallel::ProcessGrid grid{{.context = 2}, 0};
  model::Architecture architecture = small_architecture(2, 2);
  parallel::GridCommunicators comm;
  std::optional<model::Weights> weights;
  std::optional<model::Activations> activations;
  std::optional<model::Stage> stage;
};

}  // namespace

TEST_CASE("the next heads' keys travel beside attention, and attention waits for its own") {
  Job job(/*kv_heads_at_a_time=*/1);
  const Log forward = job.log_of([&] { job.stage->forward(0); });
  CHECK(forward == Log{"context waits for compute#0", "gather of 512 rows",
                       "compute waits for context#2", "context waits for compute#3",
                       "gather of 512 rows", "compute waits for context#5"});

  const Log backward = job.log_of([&] {
    job.stage->backward(
        0, {.loss_scale = 1.0F, .first = true, .last = true, .bucket_done = [](int) {}});
  });
  CHECK(backward ==
        Log{// keys of the first head, then those of the second beside the first's gradients
            "context waits for compute#0", "gather of 512 rows", "compute waits for context#2",
            "context waits for compute#3", "gather of 512 rows",
            // the first's gradients leave beside those of the second
            "context waits for compute#5", "reduce-scatter of 512 rows",
            "compute waits for context#5", "compute waits for context#8",
            "context waits for compute#9", "reduce-scatter of 512 rows",
            "compute waits for context#11"});
}

TEST_CASE("with all heads at once attention waits for all keys") {
  Job job(/*kv_heads_at_a_time=*/2);
  CHECK(job.log_of([&] { job.stage->forward(0); }) ==
        Log{"context waits for compute#0", "gather of 512 rows", "compute waits for context#2"});
}

TEST_CASE("so many heads are gathered at a time as divide a rank's, up to what was asked for") {
  const auto sizes =
      model::LocalSizes::of(small_architecture(16, 8), parallel::ProcessGrid({.context = 2}, 0));
  const std::pair<std::int64_t, std::int64_t> asked_and_taken[] = {
      {1, 1}, {2, 2}, {3, 2}, {4, 4}, {6, 4}, {8, 8}, {9, 8}, {100, 8}, {0, 2}};
  for (const auto& [asked, taken] : asked_and_taken) {
    INFO("asked " << asked);
    CHECK(model::kv_heads_at_a_time(sizes, shape_of(asked), DType::bf16) == taken);
  }
}

}  // namespace espalier
