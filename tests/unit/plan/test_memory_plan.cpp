#include <catch2/catch.hpp>
#include <cstdlib>

#include "plan/memory_fit.hpp"
#include "support/expect_error.hpp"
#include "support/forwarding_gpu.hpp"
#include "support/parameters.hpp"

using namespace espalier;

namespace {

config::Parameters qwen3_8b() {
  config::Parameters p = testing::qwen3_8b();
  p.parallel.data = 1;
  p.training.micro_batch_size = 2;
  return p;
}

std::int64_t activation_bytes(config::Parameters p, const std::string& recompute) {
  p.memory.recompute = recompute;
  const parallel::GridShape shape{.tensor = static_cast<int>(p.parallel.tensor),
                                  .data = static_cast<int>(p.parallel.data)};
  return plan::TrainingMemory::planned(p, {shape, 0}).activation_arena.used_bytes();
}

/// A GPU with little memory left, of which nothing may be taken.
class NearlyFullGpu : public testing::ForwardingGpu {
 public:
  explicit NearlyFullGpu(std::int64_t free) : free_(free) {}
  std::int64_t free_bytes() const override { return free_; }
  void* allocate(std::string_view what, std::int64_t bytes) override {
    allocated += bytes;
    return ForwardingGpu::allocate(what, bytes);
  }
  std::int64_t allocated = 0;

 private:
  std::int64_t free_;
};

constexpr std::int64_t kGiB = std::int64_t{1} << 30;

std::int64_t total_bytes(const config::Parameters& p) {
  const parallel::GridShape shape{.tensor = static_cast<int>(p.parallel.tensor),
                                  .data = static_cast<int>(p.parallel.data)};
  return plan::TrainingMemory::planned(p, {shape, 0}, device::Backend::emulated).total_bytes();
}

}  // namespace

// The table in model/activations.hpp. Sizes are multiples of the arena's alignment.
TEST_CASE("activations shrink by the bytes that are not kept, in all blocks but one") {
  config::Parameters p = qwen3_8b();
  p.training.dtype = GENERATE("bfloat16", "float32");
  p.parallel.tensor = GENERATE(1, 4);
  p.parallel.sequence_parallel = GENERATE(false, true);
  const std::int64_t w = p.training.dtype == "float32" ? 4 : 2;
  const std::int64_t n = p.parallel.tensor;
  const std::int64_t H = 4096, F = 12288 / n, A = 32 / n, K = 8 / n, D = 128;
  const std::int64_t tokens = 2 * 4096;
  const std::int64_t local = p.parallel.sequence_parallel ? tokens / n : tokens;
  const std::int64_t blocks = 36 - 1;

  const std::int64_t n1_n2_qk = local * 2 * w * H + tokens * w * (A + K) * D;
  const std::int64_t gate_up = tokens * w * 2 * F;
  const std::int64_t others =
      tokens * (w * (A + 2 * K) * D + w * A * D + 4 * A) + local * (w * H + 8);
  const std::int64_t kept = activation_bytes(p, "none");
  CHECK(kept - activation_bytes(p, "selective") == blocks * n1_n2_qk);
  CHECK(kept - activation_bytes(p, "mlp") == blocks * (n1_n2_qk + gate_up));
  CHECK(kept - activation_bytes(p, "full") == blocks * (n1_n2_qk + gate_up + others));
}

TEST_CASE("memory that a GPU does not have is refused before any is taken") {
  const config::Parameters p = qwen3_8b();
  const auto gpu = std::make_shared<NearlyFullGpu>(kGiB);
  const device::Context context(gpu);
  const std::int64_t taken = gpu->allocated;  // the GEMM library's workspace
  std::string message;
  try {
    plan::TrainingMemory::backed(p, {{}, 0}, context);
  } catch (const Error& error) {
    CHECK(error.status() == ExitStatus::bad_configuration);
    message = error.what();
  }
  testing::expect_words(
      message, {"GiB free", "weights", "activations", "optimizer state",
                "memory.recompute = \"full\"", "training.micro_batch_size = 1",
                "training.micro_batch_size = 1 with memory.recompute", "parallel.tensor = "});
  CHECK(gpu->allocated == taken);
}

TEST_CASE("what would help is planned like the run itself, and says what fits") {
  config::Parameters p = qwen3_8b();
  p.training.micro_batch_size = 4;
  p.training.global_batch_size = 8;
  p.memory.recompute = "selective";
  config::Parameters two = p;
  two.training.micro_batch_size = 2;
  // Just enough for a micro-batch of two.
  const auto list = plan::alternatives(
      p, {{}, 0},
      {.backend = device::Backend::emulated, .free_bytes = total_bytes(two), .whose = "a test"});
  REQUIRE(list.size() == 8);
  CHECK(list[0].change.starts_with("memory.recompute = \"budget\" ("));
  CHECK(list[0].total_bytes <= total_bytes(two));
  CHECK(list[1].change == "memory.recompute = \"mlp\"");
  CHECK(list[2].change == "memory.recompute = \"full\"");
  CHECK(list[3].change == "training.loss_chunk_tokens = 1024");
  config::Parameters pieces = p;
  pieces.training.loss_chunk_tokens = 1024;
  CHECK(list[3].total_bytes == total_bytes(pieces));
  CHECK(list[4].change == "training.micro_batch_size = 2");  // 3 does not divide the batch
  CHECK(list[4].total_bytes == total_bytes(two));
  two.memory.recompute = "full";
  CHECK(list[5].total_bytes == total_bytes(two));
  CHECK(list[6].change == "parallel.tensor = 2 on 2 ranks");
  config::Parameters other = p;
  other.parallel.tensor = 2;
  CHECK(list[6].total_bytes == total_bytes(other));
  CHECK(list[7].change == "parallel.data = 2 on 2 ranks");
  other = p;
  other.parallel.data = 2;
  CHECK(list[7].total_bytes == total_bytes(other));
}

TEST_CASE("ranks that share sequences on a GPU must have blocks of 128 tokens") {
  config::Parameters p = testing::qwen3_8b();
  p.training.sequence_length = 4096 + 128;
  plan::require_blocks_of_gpu(p, device::Backend::cuda);
  p.parallel.context = 2;
  plan::require_blocks_of_gpu(p, device::Backend::host);
  const std::string message =
      testing::message_of([&] { plan::require_blocks_of_gpu(p, device::Backend::cuda); });
  testing::expect_words(message, {"parallel.context = 2", "training.sequence_length = 4224",
                                  "2 x 128", "use 4096 or 4352"});
  p.training.sequence_length = 4352;
  plan::require_blocks_of_gpu(p, device::Backend::emulated);
}

TEST_CASE("of a long sequence that does not fit, context ranks are proposed") {
  config::Parameters p = qwen3_8b();
  p.parallel.tensor = 2;
  p.parallel.data = 2;
  p.training.micro_batch_size = 1;
  p.training.global_batch_size = 8;
  p.training.sequence_length = 32768;
  p.memory.recompute = "full";
  const auto proposed = [&](std::int64_t free_bytes) -> std::string {
    const parallel::GridShape shape{
        .tensor = 2, .context = static_cast<int>(p.parallel.context), .data = 2};
    for (const plan::Alternative& a : plan::alternatives(
             p, {shape, 0},
             {.backend = device::Backend::emulated, .free_bytes = free_bytes, .whose = ""}))
      if (a.change.starts_with("parallel.context")) return a.change;
    return {};
  };
  const auto total_on = [&](int context, int data) {
    config::Parameters other = p;
    other.parallel.context = context;
    other.parallel.data = data;
    const parallel::GridShape shape{.tensor = 2, .context = context, .data = data};
    std::int64_t most = 0;
    for (int rank = 0; rank < shape.size(); ++rank)
      most = std::max(most,
                      plan::TrainingMemory::planned(other, {shape, rank}, device::Backend::emulated)
                          .total_bytes());
    return most;
  };
  // Data ranks give way as far as they go; after that there are more ranks.
  CHECK(proposed(total_on(2, 1)) == "parallel.context = 2 on 4 ranks");
  CHECK(proposed(total_on(4, 1)) == "parallel.context = 4 on 8 ranks");
  CHECK(proposed(0) == "parallel.context = 8 on 16 ranks");  // 4,096 tokens each
  p.parallel.context = 2;
  CHECK(proposed(total_on(4, 1)) == "parallel.context = 4 on 8 ranks");
  p.parallel.context = 1;
  p.training.sequence_length = 4096;
  CHECK(proposed(0).empty());
}

TEST_CASE("a dry run says whether the rank that needs most fits") {
  config::Parameters p = qwen3_8b();
  const NearlyFullGpu small(kGiB), large(1000 * kGiB);
  CHECK(plan::describe_fit(p, {}, plan::room_of(small)).starts_with("does not fit"));
  CHECK(plan::describe_fit(p, {}, plan::room_of(large)).starts_with("fits"));
}

TEST_CASE("a GPU is asked for what the plan says, to the byte") {
  config::Parameters p = qwen3_8b();
  p.model.hidden_size = 64;
  p.model.intermediate_size = 192;
  p.model.num_hidden_layers = 3;
  p.model.vocab_size = 1021;
  p.training.sequence_length = 128;
  p.memory.recompute = GENERATE("none", "full");
  const parallel::GridShape shape{.tensor = GENERATE(1, 2), .data = GENERATE(1, 2)};
  p.parallel.tensor = shape.tensor;
  p.parallel.data = shape.data;
  for (int rank = 0; rank < shape.size(); ++rank) {
    const parallel::ProcessGrid grid(shape, rank);
    const auto gpu = std::make_shared<NearlyFullGpu>(kGiB);
    const device::Context context(gpu,
                                  plan::workspace_elements(p, grid, device::Backend::emulated));
    const auto memory = plan::TrainingMemory::backed(p, grid, context);
    CHECK(gpu->allocated == memory.total_bytes());
    CHECK(memory.total_bytes() ==
          plan::TrainingMemory::planned(p, grid, device::Backend::emulated).total_bytes());
  }
}

TEST_CASE("the workspace of a GPU holds the counts of more experts than a row has columns") {
  config::Parameters p = qwen3_8b();
  p.model.model_type = "qwen3_moe";
  p.model.hidden_size = 64;
  p.model.head_dim = 32;
  p.model.num_experts = 1024;
  p.model.num_experts_per_tok = 64;
  p.model.moe_intermediate_size = 32;
  // Pairs are sorted by up to 512 blocks, each with a count of every expert.
  CHECK(plan::workspace_elements(p, parallel::ProcessGrid({}, 0), device::Backend::emulated) >=
        (512 + 1) * 1024);
}

TEST_CASE("activations alone come from the source that is given, as much of them as planned") {
  const config::Parameters p = [] {
    config::Parameters small = qwen3_8b();
    small.model.num_hidden_layers = 1;
    small.model.vocab_size = 1021;
    small.training.sequence_length = 128;
    return small;
  }();
  const parallel::ProcessGrid grid({}, 0);
  const auto gpu = std::make_shared<NearlyFullGpu>(100 * kGiB);
  const device::Context context(gpu, plan::workspace_elements(p, grid, device::Backend::emulated));
  static std::int64_t asked;
  static int released;
  asked = released = 0;
  const auto none = [](std::int64_t) -> void* { return nullptr; };
  const auto some = [](std::int64_t bytes) -> void* {
    asked += bytes;
    return std::malloc(static_cast<std::size_t>(bytes));
  };
  const auto release = [](void* memory) noexcept {
    ++released;
    std::free(memory);
  };
  {
    const std::int64_t before = gpu->allocated;
    const auto memory =
        plan::TrainingMemory::backed(p, grid, context, {.allocate = some, .release = release});
    const device::View all = memory.activation_arena.from_source();
    CHECK(asked == memory.activation_arena.used_bytes());
    CHECK(all.size_bytes() == asked);
    CHECK(all.as<float>()[all.size() - 1] == 0.0f);
    CHECK(gpu->allocated - before == memory.total_bytes() - memory.context_bytes() - asked);
    CHECK(memory.weight_arena.from_source().data == nullptr);
  }
  CHECK(released == 1);
  const auto memory =
      plan::TrainingMemory::backed(p, grid, context, {.allocate = none, .release = release});
  CHECK(memory.activation_arena.from_source().data == nullptr);
  CHECK(released == 1);
}

TEST_CASE("a plan for a GPU needs none, and names its workspaces and pinned memory") {
  config::Parameters p = qwen3_8b();
  testing::expect_words(plan::describe_memory_plan(p, {}, device::Backend::cuda),
                        {"on its GPU", "kernel workspace", "GEMM workspace", "32.00 MiB",
                         "32.00 MiB of pinned memory"});
  const auto pinned = [&](const parallel::GridShape& shape) {
    return plan::TrainingMemory::planned(p, {shape, 0}, device::Backend::cuda).pinned_bytes();
  };
  CHECK(pinned({.data = 2}) == pinned({}));
  p.device.communicator = "mpi";
  CHECK(pinned({.data = 2}) > pinned({}));
  // Every tensor rank passes the residual stream on: (B S, H) of bf16.
  CHECK(pinned({.tensor = 2}) >= pinned({}) + 2 * 4096 * 4096 * 2);
}

TEST_CASE("a plan can be held against the memory of a GPU that is not here") {
  config::Parameters p = qwen3_8b();
  p.device.memory_gib = 80.0;
  testing::expect_words(plan::describe_fit(p, {}, plan::room_of(p.device)),
                        {"does not fit", "device.memory_gib = 80", "what would help"});
  p.device.memory_gib = 4000.0;
  CHECK(plan::describe_fit(p, {}, plan::room_of(p.device)).starts_with("fits"));
}

TEST_CASE("a GPU takes the loss in larger chunks, the larger the less of the vocabulary it has") {
  config::Parameters p = qwen3_8b();
  p.training.micro_batch_size = 8;  // 32,768 tokens
  p.training.loss_chunk_tokens = 0;
  const auto chunk = [&](const parallel::GridShape& shape, device::Backend backend) {
    return plan::TrainingMemory::planned(p, {shape, 0}, backend)
        .activations->shape.loss_chunk_tokens;
  };
  CHECK(chunk({}, device::Backend::host) == 1024);
  CHECK(chunk({}, device::Backend::cuda) == 4096);  // 151,936 columns of bf16
  CHECK(chunk({.tensor = 4}, device::Backend::cuda) == 17408);
  p.training.dtype = "float32";
  CHECK(chunk({}, device::Backend::cuda) == 2048);
  p.training.loss_chunk_tokens = 512;
  CHECK(chunk({}, device::Backend::cuda) == 512);
}

TEST_CASE("the fit leaves room for what CUDA and NCCL take for themselves") {
  config::Parameters p = qwen3_8b();
  plan::Room room{.backend = device::Backend::cuda, .free_bytes = 0, .whose = "a test"};
  const auto bytes = [&](const parallel::GridShape& shape) {
    return plan::library_bytes(p, shape, room);
  };
  const std::int64_t alone = bytes({});
  CHECK(alone > 0);
  // 32 channels, and of each the default buffers of NCCL's protocols.
  const std::int64_t communicator = 32 * (4194304 + 524288 + 4915200);
  CHECK(bytes({.data = 2}) == alone + communicator);
  // The tensor group, and gradients: of what it divides, and of what is whole on its ranks.
  CHECK(bytes({.tensor = 2}) == alone + 2 * communicator);
  CHECK(bytes({.tensor = 2, .data = 2}) == alone + 3 * communicator);
  CHECK(bytes({.tensor = 16, .data = 2}) == alone + 4 * communicator);  // replicated kv heads
  // Keys and values pass along their own one; gradients are summed over data ranks as well.
  CHECK(bytes({.context = 2}) == alone + 2 * communicator);
  CHECK(bytes({.context = 2, .data = 2}) == alone + 2 * communicator);
  p.parallel.overlap_tensor = true;
  CHECK(bytes({.tensor = 2}) == alone + 3 * communicator);
  p.model.model_type = "llama";  // without QK-norm and with whole norms on every tensor rank
  p.parallel.sequence_parallel = false;
  CHECK(bytes({.tensor = 2}) == alone + 2 * communicator);
  p.device.communicator = "mpi";
  CHECK(bytes({.tensor = 2}) == alone);
  p = qwen3_8b();
  room.has_context = false;
  CHECK(bytes({}) > alone);

  // A plan that fits to the byte does not fit a GPU.
  const parallel::ProcessGrid grid({}, 0);
  room.free_bytes = plan::TrainingMemory::planned(p, grid, room.backend).total_bytes();
  testing::expect_words(plan::why_not_fitting(p, grid, room), {"CUDA and NCCL"});
  CHECK(plan::describe_fit(p, {}, room).starts_with("does not fit"));
  room.free_bytes += bytes({});
  CHECK(plan::why_not_fitting(p, grid, room).empty());
  CHECK(plan::describe_fit(p, {}, room).starts_with("fits"));
}

TEST_CASE("the fit leaves room for what connects a rank with the experts of every other") {
  config::Parameters p = qwen3_8b();
  p.model.model_type = "qwen3_moe";
  p.model.num_experts = 128;
  p.model.num_experts_per_tok = 8;
  p.model.moe_intermediate_size = 768;
  const std::int64_t mib = 1 << 20;
  const auto bytes = [&](int expert, int capability) {
    const plan::Room room{.backend = device::Backend::cuda,
                          .free_bytes = 0,
                          .whose = "a test",
                          .compute_capability = capability};
    p.parallel.expert = expert;
    const std::int64_t with = plan::library_bytes(p, {.data = 64}, room);
    // Without experts elsewhere their gradients have no group of their own.
    p.parallel.expert = 1;
    return with - plan::library_bytes(p, {.data = 64}, room);
  };
  const std::int64_t communicator = 32 * (4194304 + 524288 + 4915200);
  // NCCL 2.30, src/transport/p2p.cc: 10 MiB received and 2 sent, for 32 channels, by 7 peers.
  CHECK(bytes(8, 90) == communicator + 7 * 32 * 12 * mib);
  CHECK(bytes(2, 90) == communicator + 1 * 32 * 12 * mib);
  CHECK(bytes(8, 86) == communicator + 7 * 4 * 12 * mib);  // no NVLink
  CHECK(bytes(64, 90) == 7 * 4 * 12 * mib + 128 * mib);    // and no other rank with these experts
}

TEST_CASE("a plan for the host states where products of bf16 are widened, if they are") {
  config::Parameters p = qwen3_8b();
  const auto mentions = [&] {
    const std::string text = plan::describe_memory_plan(p, {}, device::Backend::host);
    testing::expect_words(text, {"beside the arenas", "staging"});
    return text.find("widen") != std::string::npos;
  };
  p.training.dtype = "float32";
  CHECK_FALSE(mentions());
  p.training.dtype = "bfloat16";
  CHECK(mentions() == (device::Gemm::host_scratch_bytes(DType::bf16) > 0));
}
