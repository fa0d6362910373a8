// Stages on several ranks have the bits of one rank that takes one micro-batch after another.
#include <catch2/catch.hpp>
#include <cstring>
#include <optional>

#include "base/text.hpp"
#include "mpi/model/model_on_grid.hpp"
#include "train/distributed_model.hpp"

namespace espalier {
namespace {

using testing::ModelOnGrid;

constexpr int kSteps = 3;
constexpr std::int64_t kLength = 16;

struct Case {
  std::string schedule;
  int pipeline, chunks = 0, tensor = 1, data = 1;
  std::int64_t micro_batches = 4;
  bool tied = true, sequence_parallel = false;
  std::string dtype = "float32", recompute = "none", family = "qwen3";
  int zero_stage = 1;
  std::vector<std::int64_t> stage_layers = {};
  bool leaves_out_targets = false;  ///< some micro-batches have none
  std::string balance = "none";     ///< of experts, which family qwen3_moe has
  int expert = 1, context = 1;
};

config::Parameters parameters_of(const Case& c) {
  config::Parameters p;
  p.model.model_type = c.family;
  p.model.vocab_size = 67;
  p.model.hidden_size = 48;
  p.model.intermediate_size = 40;
  p.model.num_hidden_layers = 6;
  p.model.num_attention_heads = 4;
  p.model.num_key_value_heads = c.family == "gpt2" ? 4 : 2;
  p.model.head_dim = 12;
  p.model.tie_word_embeddings = c.tied;
  p.model.max_position_embeddings = 32;
  if (c.family == "qwen3_moe") {
    p.model.num_experts = 4;
    p.model.num_experts_per_tok = 2;
    p.model.moe_intermediate_size = 24;
    p.model.mlp_only_layers = {2};
    p.model.router_aux_loss_coef = 0.02;
    p.experts.balance = c.balance;
    p.experts.z_loss_coefficient = 0.01;
    p.experts.bias_update_rate = 0.01;
    p.experts.capacity_factor = 1.0;  // some layers need further rounds
  }
  p.parallel.expert = c.expert;
  p.parallel.tensor = c.tensor;
  p.parallel.context = c.context;
  p.parallel.data = c.data;
  p.parallel.pipeline = c.pipeline;
  p.parallel.schedule = c.schedule;
  p.parallel.chunks = c.chunks;
  p.parallel.stage_layers = c.stage_layers;
  p.parallel.sequence_parallel = c.sequence_parallel;
  p.parallel.zero_stage = c.zero_stage;
  p.memory.recompute = c.recompute;
  p.training.sequence_length = kLength;
  p.training.micro_batch_size = 1;
  p.training.global_batch_size = c.micro_batches * c.data;
  p.training.loss_chunk_tokens = 7;
  p.training.dtype = c.dtype;
  return p;
}

/// Losses, norms, and all weights and moments, a line each, the same on every rank.
std::string outcome(const Case& c, parallel::MpiSession& on) {
  ModelOnGrid model(parameters_of(c), testing::gpu_of_test(), on);
  model.stages.set_weight_use(*model.memory.parameter_store);
  std::vector<std::uint32_t> tokens(static_cast<std::size_t>(kLength + 1));
  std::string text;
  for (int step = 1; step <= kSteps; ++step) {
    const auto load = [&](std::int64_t micro) {
      const std::int64_t sample =
          (step * c.data + model.grid.data_rank()) * c.micro_batches + micro;
      for (std::size_t i = 0; i < tokens.size(); ++i)
        tokens[i] =
            static_cast<std::uint32_t>((sample * 31 + static_cast<std::int64_t>(i * i)) % 67);
      return model::Batch{.samples = device::view_of(tokens.data(), 1, kLength + 1),
                          .num_counted = c.leaves_out_targets && sample % 3 == 0 ? 0 : 1};
    };
    const train::StepResult result = model.step({.num_micro_batches = c.micro_batches,
                                                 .num_targets = 64,
                                                 .num_sequences = c.micro_batches * c.data,
                                                 .load = load},
                                                step);
    text += fmt::format("loss {:a} norm {:a} balance {:a} z {:a}", result.loss, result.grad_norm,
                        result.experts.balance_loss(), result.experts.z_loss());
    for (const double choices : result.experts.choices) text += fmt::format(" {}", choices);
    text += "\n";
  }
  model.memory.parameter_store->wait_for_gathers(model.context);
  std::string mine;
  for (const optim::StateShard& state : model.memory.optimizer->state()) {
    const parallel::LocalTensor& tensor = model.memory.parameter_store->tensor_of(state.shard);
    BytesHash hash;
    for (const device::View& view : {state.master, state.m, state.v}) {
      const std::vector<float> values = model.context.download<float>(view);
      hash.add(std::as_bytes(std::span(values)));
    }
    if (state.shard.writes)
      mine += fmt::format("{} {} {} {:x}\n", tensor.spec->name, state.shard.rectangle.row_begin,
                          state.shard.rectangle.col_begin, hash.value());
  }
  std::vector<std::string> lines;
  for (const std::string& of_rank : on.world().all_gather(mine))
    for (std::size_t begin = 0; begin < of_rank.size(); begin = of_rank.find('\n', begin) + 1)
      lines.push_back(of_rank.substr(begin, of_rank.find('\n', begin) - begin));
  std::sort(lines.begin(), lines.end());
  for (const std::string& line : lines) text += line + "\n";
  return text;
}

void check(const Case& c) {
  parallel::MpiSession& all = testing::session();
  const int of_stage = c.tensor * c.context * c.data;
  const int ranks = c.pipeline * of_stage;
  if (ranks != all.size()) return;
  CAPTURE(c.schedule, c.pipeline, c.chunks, c.tensor, c.data, c.micro_batches, c.tied, c.dtype,
          c.recompute, c.family, c.zero_stage, c.sequence_parallel, c.context);
  Case plain = c;
  plain.pipeline = 1;
  std::string expected;
  if (const auto first = all.first_ranks(of_stage)) expected = outcome(plain, *first);
  expected = all.world().broadcast(expected, 0);
  CHECK(outcome(c, all) == expected);
}

struct Way {
  const char* schedule;
  int chunks;
};
/// Hands everything on, and counts how often it is asked to let messages travel.
class WatchedLink final : public parallel::PipelineLink {
 public:
  explicit WatchedLink(std::unique_ptr<parallel::PipelineLink> inner) : inner_(std::move(inner)) {}
  void post_receive(const pipeline::Action& message, int peer, device::View buffer) override {
    inner_->post_receive(message, peer, buffer);
  }
  void wait_receive(const pipeline::Action& message) override { inner_->wait_receive(message); }
  void post_send(const pipeline::Action& message, int peer, device::ConstView buffer) override {
    inner_->post_send(message, peer, buffer);
  }
  void wait_send(const pipeline::Action& message) override { inner_->wait_send(message); }
  void progress() override {
    ++num_progress;
    inner_->progress();
  }
  std::int64_t bytes_sent() const override { return inner_->bytes_sent(); }

  std::int64_t num_progress = 0;

 private:
  std::unique_ptr<parallel::PipelineLink> inner_;
};

const std::vector<Way> kWays = {{"gpipe", 0}, {"1f1b", 0}, {"zb-h1", 0},     {"interleaved", 2},
                                {"zb1p", 2},  {"zb-v", 2}, {"dualpipe-v", 2}};

}  // namespace

TEST_CASE("every schedule has the bits of no pipeline") {
  const int size = testing::session().size();
  for (const Way& way : kWays)
    for (const bool tied : {true, false})
      for (const char* dtype : {"float32", "bfloat16"}) {
        Case c{.schedule = way.schedule, .pipeline = 2, .chunks = way.chunks};
        c.tied = tied;
        c.dtype = dtype;
        if (size == 2) check(c);
        c.pipeline = 4;
        c.micro_batches = 8;
        if (c.dtype == "float32" || tied) check(c);
        c.pipeline = 2;
        c.micro_batches = 4;
        if (size != 4 || (c.dtype == "float32") != tied) continue;
        c.tensor = 2;
        c.sequence_parallel = tied;
        check(c);
        c.tensor = 1;
        c.data = 2;
        c.sequence_parallel = false;
        check(c);
      }
}

// A long message may need its sender again, which computes by then.
TEST_CASE("the messages of a pipeline are looked after behind every block") {
  parallel::MpiSession& all = testing::session();
  if (all.size() != 2) return;
  constexpr std::int64_t kMicroBatches = 3;
  for (const char* schedule : {"1f1b", "zb-h1"}) {
    CAPTURE(schedule);
    const config::Parameters p = parameters_of({.schedule = schedule,
                                                .pipeline = 2,
                                                .micro_batches = kMicroBatches,
                                                .stage_layers = {4, 2}});
    train::RankContext rank_context(all, p);
    train::DistributedModel model(all, p, rank_context);
    auto watched = std::make_unique<WatchedLink>(std::move(model.link));
    const WatchedLink& link = *watched;
    model.link = std::move(watched);
    const std::vector<std::uint32_t> tokens(static_cast<std::size_t>(kLength + 1), 5);
    train::training_step(model.step_model(rank_context),
                         {.num_micro_batches = kMicroBatches,
                          .num_targets = kMicroBatches * kLength,
                          .load =
                              [&](std::int64_t) {
                                return model::Batch{
                                    .samples = device::view_of(tokens.data(), 1, kLength + 1),
                                    .num_counted = 1};
                              }},
                         {.optimizer = p.optimizer, .learning_rate = 0.01, .step = 1});
    const std::int64_t blocks = all.rank() == 0 ? 4 : 2, heads = all.rank();
    const std::int64_t passes_of_blocks = schedule == std::string("1f1b") ? 2 : 3;
    CHECK(link.num_progress == kMicroBatches * (passes_of_blocks * blocks + heads));
  }
}

// On a GPU the first of all passes wait for whatever runs there, also for a receive.
TEST_CASE("a rehearsal of passes sends nothing along the pipeline and changes no step") {
  parallel::MpiSession& all = testing::session();
  if (all.size() != 2) return;
  constexpr std::int64_t kMicroBatches = 3;
  const config::Parameters p = parameters_of({.schedule = "zb-h1",
                                              .pipeline = 2,
                                              .micro_batches = kMicroBatches,
                                              .family = "qwen3_moe",
                                              .balance = "global"});
  const std::vector<std::uint32_t> tokens(static_cast<std::size_t>(kLength + 1), 5);
  const model::Batch batch{.samples = device::view_of(tokens.data(), 1, kLength + 1),
                           .num_counted = 1};
  const auto step = [&](bool rehearses) {
    train::RankContext rank_context(all, p);
    train::DistributedModel model(all, p, rank_context);
    if (rehearses) {
      train::StepModel alone = model.step_model(rank_context);
      alone.part.link = nullptr;  // a message would be an error
      train::warm_up_passes(alone, batch, kMicroBatches);
    }
    return train::training_step(model.step_model(rank_context),
                                {.num_micro_batches = kMicroBatches,
                                 .num_targets = kMicroBatches * kLength,
                                 .num_sequences = kMicroBatches,
                                 .load = [&](std::int64_t) { return batch; }},
                                {.optimizer = p.optimizer, .learning_rate = 0.01, .step = 1});
  };
  const train::StepResult plain = step(false), rehearsed = step(true);
  CHECK(rehearsed.loss == plain.loss);
  CHECK(rehearsed.grad_norm == plain.grad_norm);
  CHECK(rehearsed.experts.choices == plain.experts.choices);
  CHECK(rehearsed.experts.losses == plain.experts.losses);
}

TEST_CASE("a pipeline's edges have the bits of no pipeline") {
  // Fewer micro-batches than stages; stages without blocks; micro-batches without targets; blocks
  // that recompute; GPT-2's parts; state that every data rank has.
  for (const Case& c : std::vector<Case>{
           {.schedule = "1f1b", .pipeline = 2, .micro_batches = 1},
           {.schedule = "1f1b", .pipeline = 4, .micro_batches = 3},
           {.schedule = "zb-h1", .pipeline = 4, .micro_batches = 2},
           {.schedule = "zb-v", .pipeline = 4, .chunks = 2, .micro_batches = 1},
           {.schedule = "1f1b", .pipeline = 2, .stage_layers = {6, 0}},
           {.schedule = "zb-h1", .pipeline = 4, .tied = false, .stage_layers = {0, 6, 0, 0}},
           {.schedule = "zb-v", .pipeline = 2, .stage_layers = {0, 3, 0, 3}},
           {.schedule = "interleaved",
           .pipeline = 4,
           .chunks = 2,
           .stage_layers = {1, 1, 0, 1, 0, 1, 1, 1}},
           {.schedule = "zb-h1", .pipeline = 2, .leaves_out_targets = true},
           {.schedule = "1f1b", .pipeline = 2, .data = 2, .leaves_out_targets = true},
           {.schedule = "zb-h1", .pipeline = 2, .recompute = "selective"},
           {.schedule = "zb1p", .pipeline = 2, .chunks = 2, .recompute = "mlp"},
           {.schedule = "dualpipe-v",
           .pipeline = 2,
           .chunks = 2,
           .dtype = "bfloat16",
           .recompute = "full"},
           {.schedule = "zb-v", .pipeline = 2, .chunks = 2, .family = "gpt2"},
           {.schedule = "1f1b", .pipeline = 2, .data = 2, .zero_stage = 0}})
    check(c);
}

TEST_CASE("a pipeline whose ranks share sequences has the bits of no pipeline") {
  if (testing::gpu_of_test() != nullptr) return;  // it has no blocks of so few tokens
  for (const Case& c : std::vector<Case>{
           {.schedule = "1f1b", .pipeline = 2, .context = 2},
           {.schedule = "zb-v", .pipeline = 2, .chunks = 2, .recompute = "selective", .context = 2},
           {.schedule = "zb-h1", .pipeline = 2, .tied = false, .dtype = "bfloat16", .context = 2},
           {.schedule = "zb-h1",
           .pipeline = 2,
           .family = "qwen3_moe",
           .balance = "sequence",
           .expert = 2,
           .context = 2}})
    check(c);
}

TEST_CASE("a pipeline of blocks with experts has the bits of no pipeline") {
  const auto moe = [](Case c, const char* balance) {
    c.family = "qwen3_moe";
    c.balance = balance;
    return c;
  };
  const int size = testing::session().size();
  for (const char* balance : {"sequence", "batch", "global", "bias", "none"}) {
    check(moe({.schedule = "1f1b", .pipeline = 2}, balance));
    check(moe({.schedule = "zb-v", .pipeline = 2, .tied = false, .dtype = "bfloat16"}, balance));
    check(moe({.schedule = "zb-h1", .pipeline = 2, .recompute = "full"}, balance));
    if (size < 4) continue;
    check(moe({.schedule = "zb1p", .pipeline = 4, .chunks = 2}, balance));
    check(moe({.schedule = "zb-h1", .pipeline = 2, .data = 2, .expert = 2}, balance));
    check(
        moe({.schedule = "1f1b", .pipeline = 2, .tensor = 2, .sequence_parallel = true}, balance));
  }
}

}  // namespace espalier
