#include <catch2/catch.hpp>

#include "unit/config/resolved_runs.hpp"

// What experts, grid, pipeline and batches ask of one another.

using namespace espalier;
using config::Parameters;
using config::Use;
using testing::error_of;
using testing::expect_words;
using testing::small_run;

namespace {

Parameters small_moe_run() {
  return small_run(testing::small_moe());
}

}  // namespace

TEST_CASE("keys of experts belong to a family with experts") {
  Parameters p = small_moe_run();
  CHECK_NOTHROW(config::resolve(p, 1));
  CHECK(p.model.intermediate_size == 0);  // every block has experts
  CHECK_NOTHROW(config::resolve(p, 1));

  p = small_run();
  p.model.num_experts = 8;
  p.model.norm_topk_prob = true;
  p.model.mlp_only_layers = {1};
  std::string error = error_of(p);
  expect_words(error, {"model_type = \"qwen3\"", "num_experts = 8", "norm_topk_prob = true",
                       "mlp_only_layers = [1]", "qwen3_moe"});
  CHECK(testing::num_lines(error) == 1);
  p = small_run();
  p.experts.balance = "batch";
  p.experts.capacity_factor = 4.0;
  expect_words(error_of(p), {"model_type = \"qwen3\"", "experts.balance = \"batch\"",
                             "capacity_factor = 4", "[experts]"});
  p = small_run();
  p.parallel.expert = 2;
  expect_words(error_of(p, 2), {"parallel.expert = 2", "no experts"});
  p = small_run();
  p.model.intermediate_size = 0;
  expect_words(error_of(p), {"model.intermediate_size is not set", "inputs/models"});
}

TEST_CASE("sizes of experts must be given and agree") {
  Parameters p = small_moe_run();
  p.model.num_experts = p.model.num_experts_per_tok = p.model.moe_intermediate_size = 0;
  std::string error = error_of(p);
  expect_words(error, {"num_experts is not set", "num_experts_per_tok is not set",
                       "moe_intermediate_size is not set"});
  CHECK(testing::num_lines(error) == 3);
  p = small_moe_run();
  p.model.num_experts_per_tok = 9;
  expect_words(error_of(p), {"num_experts_per_tok = 9", "num_experts = 8", "at most 8"});
  p = small_moe_run();
  p.model.mlp_only_layers = {0, 2};
  expect_words(error_of(p), {"mlp_only_layers has 2", "num_hidden_layers = 2", "last is 1"});
  p = small_moe_run();
  p.model.mlp_only_layers = {0};  // a dense block
  expect_words(error_of(p), {"intermediate_size is not set", "dense MLP"});
  p.model.intermediate_size = 96;
  CHECK_NOTHROW(config::resolve(p, 1));
  p = small_moe_run();
  p.model.mlp_only_layers = {1};
  p.model.decoder_sparse_step = 2;
  p.model.intermediate_size = 96;
  expect_words(error_of(p), {"decoder_sparse_step = 2", "mlp_only_layers = [1]", "\"qwen3\""});
}

TEST_CASE("the balance of experts must fit the grid, and its keys one another") {
  Parameters p = small_moe_run();
  p.experts.balance = "huggingface";
  CHECK_NOTHROW(config::resolve(p, 1));
  p = small_moe_run();
  p.experts.balance_coefficient = -0.5;
  expect_words(error_of(p), {"balance_coefficient = -0.5", "-1"});
  p = small_moe_run();
  p.experts.balance = "none";
  p.experts.balance_coefficient = 0.01;
  expect_words(error_of(p), {"balance_coefficient = 0.01", "\"none\""});
  p = small_moe_run();
  p.experts.bias_update_rate = 0.5;
  expect_words(error_of(p), {"bias_update_rate = 0.5", "balance = \"sequence\"", "\"bias\""});
  p.experts.balance = "bias";
  CHECK_NOTHROW(config::resolve(p, 1));
  p = small_moe_run();
  p.parallel.tensor = 2;
  p.parallel.sequence_parallel = false;
  expect_words(error_of(p, 2), {"sequence_parallel = false", "parallel.tensor = 2", "qwen3_moe"});
  p.parallel.sequence_parallel = true;
  CHECK_NOTHROW(config::resolve(p, 2));
  p.parallel.sequence_parallel = false;  // nothing is trained
  CHECK_NOTHROW(config::resolve(p, 2, Use::evaluation));
}

TEST_CASE("the ranks that share experts divide the experts and the ranks of a stage") {
  Parameters p = small_moe_run();
  p.parallel.tensor = 2;
  p.parallel.expert = 4;
  CHECK_NOTHROW(config::resolve(p, 4));  // tensor and data ranks together
  p = small_moe_run();
  p.parallel.expert = 3;
  expect_words(error_of(p, 6), {"parallel.expert = 3", "num_experts = 8", "are 1 or 2"});
  p = small_moe_run();
  p.parallel.expert = 8;
  expect_words(error_of(p, 4), {"parallel.expert = 8", "1 x 1 x 4 = 4", "are 1, 2 or 4"});
  // No block is dense, and so no matrix of that size is divided.
  p = small_moe_run();
  p.model.intermediate_size = 97;
  p.parallel.tensor = 2;
  CHECK_NOTHROW(config::resolve(p, 2));
  p = small_moe_run();
  p.model.intermediate_size = 97;
  p.model.mlp_only_layers = {0};
  p.parallel.tensor = 2;
  expect_words(error_of(p, 2), {"intermediate_size = 97"});
}

TEST_CASE("the grid must fit the job") {
  Parameters p = small_run();
  p.parallel.tensor = 4;
  expect_words(error_of(p, 6), {"parallel.tensor = 4", "6 ranks", "1 or 2", "multiple of 4"});
  p.parallel.data = 3;
  expect_words(error_of(p, 8), {"4 x", "3", "needs 12", "job has 8", "start 12", "data = 2"});
  p.parallel.tensor = 8;
  p.parallel.data = 1;
  expect_words(error_of(p, 4), {"needs 8", "job has 4", "1, 2 or 4"});
}

TEST_CASE("the grid must fit the model") {
  Parameters p = small_run();
  p.parallel.tensor = 3;
  expect_words(error_of(p, 3), {"parallel.tensor = 3", "num_attention_heads = 8", "1, 2, 4 or 8"});
  p = small_run();
  p.model.num_attention_heads = 12;
  p.model.num_key_value_heads = 6;
  p.model.hidden_size = 96;
  p.parallel.tensor = 4;  // neither divides 6 nor is a multiple of it
  expect_words(error_of(p, 4), {"num_key_value_heads = 6", "1, 2, 3, 6 or 12"});
  p = small_run();
  p.model.intermediate_size = 100;
  p.parallel.tensor = 8;
  expect_words(error_of(p, 8), {"intermediate_size = 100", "1, 2 or 4"});
  p = small_run();
  p.model.vocab_size = 9;  // 2 rows each: 2, 2, 2, 2, 1 and nothing for the last three
  p.parallel.tensor = 8;
  expect_words(error_of(p, 8), {"vocab_size = 9", "1 or 2"});
  p = small_run();
  p.parallel.tensor = 8;  // more than K: key/value heads are replicated
  CHECK_NOTHROW(config::resolve(p, 8));
}

TEST_CASE("the ranks that share sequences must divide them, and fit the job") {
  const auto context = [](std::int64_t ranks) {
    Parameters p = small_run();  // sequences of 32 tokens
    p.parallel.context = ranks;
    return p;
  };
  Parameters p = context(4);
  CHECK_NOTHROW(config::resolve(p, 8));
  CHECK(p.parallel.data == 2);
  p = context(32);  // a token for each rank
  CHECK_NOTHROW(config::resolve(p, 32));
  p = context(3);
  expect_words(error_of(p, 6),
               {"training.sequence_length = 32", "parallel.context = 3", "30 or 33"});
  p = context(64);
  expect_words(error_of(p, 64), {"training.sequence_length = 32", "parallel.context = 64", "64"});
  p = context(4);
  expect_words(error_of(p, 6), {"parallel.context = 4", "6 ranks", "parallel.context = 1 or 2"});
  p.parallel.data = 2;
  expect_words(error_of(p, 4), {"parallel.context = 4 x parallel.data = 2 needs 8", "start 8",
                                "parallel.data = 1"});
  p = context(0);
  expect_words(error_of(p, 1), {"parallel.context = 0"});
  // Sequence parallelism divides what a rank has of the tokens.
  p = context(16);
  p.parallel.tensor = 4;
  p.parallel.sequence_parallel = true;
  p.training.micro_batch_size = 1;
  expect_words(error_of(p, 64), {"1 x 32 / parallel.context = 16", "parallel.tensor = 4",
                                 "multiple of 64", "sequence_parallel = false"});
  p.training.micro_batch_size = 2;
  CHECK_NOTHROW(config::resolve(p, 64));
  // Without training its ranks take data.
  p = context(4);
  config::resolve(p, 8, Use::evaluation);
  CHECK(p.parallel.context == 1);
  CHECK(p.parallel.data == 8);
}

TEST_CASE("a pipeline must fit the job, the model and the micro-batches") {
  const auto pipeline = [](std::int64_t ranks, const char* schedule) {
    Parameters p = small_run();
    p.model.num_hidden_layers = 4;
    p.parallel.pipeline = ranks;
    p.parallel.schedule = schedule;
    p.training.micro_batch_size = 1;
    p.training.global_batch_size = 8;
    return p;
  };
  Parameters p = pipeline(2, "1f1b");
  CHECK_NOTHROW(config::resolve(p, 4));
  CHECK(p.parallel.data == 2);
  p = pipeline(3, "1f1b");
  expect_words(error_of(p, 4), {"parallel.pipeline = 3", "4 ranks", "parallel.pipeline = 1, 2 or 4",
                                "multiple of 3"});
  p.parallel.data = 2;
  expect_words(error_of(p, 4), {"parallel.pipeline = 3 x parallel.data = 2 needs 6"});
  p = pipeline(8, "1f1b");
  expect_words(error_of(p, 8), {"parallel.pipeline = 8 has 8 stages", "4 blocks", "at most 6"});
  p = pipeline(4, "zb-v");
  expect_words(error_of(p, 4), {"with 2 chunks", "8 stages", "parallel.chunks of at most 6"});
  p = pipeline(2, "interleaved");
  p.training.global_batch_size = 5;
  expect_words(error_of(p, 2),
               {"interleaved", "multiple of 2 micro-batches", "4 or 6", "global_batch_size = 5"});
  p = pipeline(2, "1f1b");
  p.parallel.chunks = 2;
  expect_words(error_of(p, 2), {"parallel.chunks = 2", "1f1b has 1 chunk"});
  p = pipeline(2, "1f1b");
  p.parallel.stage_layers = {1, 2};
  expect_words(error_of(p, 2), {"stage_layers", "3 blocks", "num_hidden_layers = 4"});
  p.parallel.stage_layers = {4};
  expect_words(error_of(p, 2), {"stage_layers names 1 stage,", "2 stages"});
  p.parallel.stage_layers = {0, 4};
  CHECK_NOTHROW(config::resolve(p, 2));
  // Its keys are those of a pipeline: without one they may stay.
  p = pipeline(1, "zb-v");
  p.parallel.stage_layers = {1, 1, 1, 1};
  CHECK_NOTHROW(config::resolve(p, 1));
  // To evaluate, the same ranks take other sequences.
  p = pipeline(2, "1f1b");
  config::resolve(p, 4, config::Use::evaluation);
  CHECK(p.parallel.pipeline == 1);
  CHECK(p.parallel.data == 4);
}

TEST_CASE("batches must divide evenly") {
  Parameters p = small_run();
  p.training.micro_batch_size = 2;
  p.training.global_batch_size = 10;
  expect_words(error_of(p, 4), {"global_batch_size = 10", "2 x 4 = 8", "use 8 or 16"});
  p.training.global_batch_size = 4;
  expect_words(error_of(p, 4), {"global_batch_size = 4", "use 8"});
  p = small_run();
  p.training.sequence_length = 33;
  p.parallel.tensor = 2;
  expect_words(error_of(p, 2), {"1 x 33", "parallel.tensor = 2", "sequence_parallel = false"});
  p.parallel.sequence_parallel = false;
  CHECK_NOTHROW(config::resolve(p, 2));
}
