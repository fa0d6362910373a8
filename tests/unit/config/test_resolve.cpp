#include <catch2/catch.hpp>

#include "unit/config/resolved_runs.hpp"

using namespace espalier;
using config::Parameters;
using config::Use;
using testing::error_of;
using testing::expect_words;
using testing::small_run;

TEST_CASE("what depends on other keys is filled in") {
  Parameters p = small_run();
  p.model.num_key_value_heads = 0;
  p.parallel.tensor = 2;
  p.training.steps = 0;
  p.training.tokens = 8 * 32 * 4 + 1;  // four steps and one token
  config::resolve(p, 8);
  CHECK(p.model.head_dim == 8);
  CHECK(p.model.num_key_value_heads == 8);
  CHECK(p.parallel.data == 4);
  CHECK(p.training.steps == 5);
  const std::string once = config::to_toml(p);
  config::resolve(p, 8);
  CHECK(config::to_toml(p) == once);  // a restart resolves the dump of a checkpoint again
}

TEST_CASE("what is out of range does not hide other mistakes, nor make new ones") {
  Parameters p = small_run();
  p.model.num_attention_heads = 0;  // of which head_dim and the fit of the grid follow
  p.training.dtype = "bf16";        // a choice
  p.parallel.tensor = -3;           // of which parallel.data and the micro-batches follow
  p.schedule.warmup_steps = 30;     // above training.steps = 10
  p.validation.interval = 5;        // without data.validation
  p.run.time_limit = "soon";
  const std::string error = error_of(p);
  expect_words(error,
               {"model.num_attention_heads", "training.dtype = \"bf16\"", "parallel.tensor = -3",
                "schedule.warmup_steps = 30", "data.validation", "run.time_limit"});
  CHECK(testing::num_lines(error) == 6);

  // One key wrong in itself: nothing is said of it a second time.
  p = small_run();
  p.training.sequence_length = 0;
  p.training.steps = 0;
  p.training.tokens = 100;
  p.schedule.warmup_steps = 1000;
  CHECK(testing::num_lines(error_of(p)) == 1);
  p = small_run();
  p.model = {};
  p.checkpoint.keep_every = 3;
  CHECK(testing::num_lines(error_of(p)) == 2);
}

TEST_CASE("what reading has found is told with the rest, and a wrong value is not judged twice") {
  config::Mistakes found;
  found.add("run.toml:3: unknown key training.stepz; did you mean training.steps?",
            "training.steps");
  Parameters p = small_run();
  p.training.steps = 0;
  p.checkpoint.keep_every = 3;
  const std::string error =
      testing::message_of([&] { config::resolve(p, 1, Use::training, found); });
  expect_words(error, {"run.toml:3", "checkpoint.keep_every"});
  CHECK(testing::num_lines(error) == 2);
}

TEST_CASE("changes that a restart is allowed are keys that it would refuse, and could take") {
  Parameters p = small_run();
  p.checkpoint.allow_changes = {"model.rope_theta", "rope_theta",        "training.steps",
                                "model.theta",      "model.hidden_size", "training.dtype"};
  const std::string error = error_of(p);
  expect_words(error, {"checkpoint.allow_changes", "\"rope_theta\"", "\"model.rope_theta\"",
                       "\"training.steps\"", "leave it out", "\"model.theta\"",
                       "\"model.hidden_size\"", "shapes"});
  CHECK(testing::num_lines(error) == 4);
}

TEST_CASE("steps win over tokens, and whole numbers of steps are not rounded") {
  Parameters p = small_run();
  p.training.tokens = 1'000'000;
  config::resolve(p, 1);
  CHECK(p.training.steps == 10);
  p.training.steps = 0;
  p.training.tokens = 8 * 32 * 4;
  config::resolve(p, 1);
  CHECK(p.training.steps == 4);
}

TEST_CASE("the model's sizes must agree") {
  Parameters p = small_run();
  p.model.num_key_value_heads = 3;
  expect_words(error_of(p), {"num_key_value_heads = 3", "num_attention_heads = 8"});
  p = small_run();
  p.model.head_dim = 7;
  expect_words(error_of(p), {"head_dim = 7", "odd", "6 or 8"});
  p = small_run();
  p.model.hidden_size = 60;
  expect_words(error_of(p), {"head_dim is not set", "hidden_size = 60"});
  p = small_run();
  p.model.rms_norm_eps = 0.0;
  expect_words(error_of(p), {"rms_norm_eps", "above 0"});
  p = small_run();
  p.model.vocab_size = 0;
  expect_words(error_of(p), {"model.vocab_size is not set", "inputs/models"});
  p = small_run();
  p.model = {};
  expect_words(error_of(p), {"no model is given", "model.file"});
  p = small_run();
  p.training.sequence_length = 65536;
  expect_words(error_of(p), {"sequence_length = 65536", "max_position_embeddings = 40960"});
}

TEST_CASE("each type of RoPE scaling has its own keys and limits") {
  const auto run_with = [](const std::string& type) {
    Parameters p = small_run();
    p.model.model_type = "llama";
    p.model.max_position_embeddings = 256;
    p.model.rope_type = type;
    p.model.rope_factor = 4.0;
    return p;
  };
  for (const std::string type : {"linear", "dynamic", "yarn", "llama3"}) {
    CAPTURE(type);
    Parameters p = run_with(type);
    CHECK_NOTHROW(config::resolve(p, 1));
    p = run_with(type);
    p.model.rope_factor = 0.5;
    expect_words(error_of(p), {"rope_factor = 0.5"});
  }
  for (const std::string type : {"linear", "dynamic", "llama3"}) {
    CAPTURE(type);
    Parameters p = run_with(type);
    p.model.rope_beta_fast = 16.0;
    p.model.rope_truncate = false;
    expect_words(error_of(p), {type.c_str(), "rope_beta_fast = 16.0, rope_truncate"});
  }
  Parameters p = run_with("yarn");
  p.model.rope_low_freq_factor = 2.0;
  expect_words(error_of(p), {"rope_type = \"yarn\"", "rope_low_freq_factor = 2.0"});
  p = run_with("yarn");
  p.model.rope_beta_fast = 0.5;
  expect_words(error_of(p), {"rope_beta_fast = 0.5", "below model.rope_beta_slow = 1"});
  p = run_with("yarn");
  p.model.rope_theta = 1.0;
  expect_words(error_of(p), {"rope_theta = 1", "above 1"});
  p = run_with("dynamic");
  p.model.head_dim = 2;
  expect_words(error_of(p), {"head_dim = 2", "dynamic"});
  p = run_with("longrope");
  expect_words(error_of(p), {"longrope", "yarn"});
}

TEST_CASE("sequences may be as long as the scaling of RoPE stretches them") {
  config::ModelParameters m;
  m.max_position_embeddings = 4096;
  CHECK(config::longest_sequence(m) == 4096);
  m.rope_factor = 2.5;
  CHECK(config::longest_sequence(m) == 4096);  // no type, no meaning
  m.rope_type = "linear";
  CHECK(config::longest_sequence(m) == 10240);
  m.rope_type = "dynamic";
  CHECK(config::longest_sequence(m) == 10240);
  m.rope_type = "yarn";
  m.rope_original_max_position_embeddings = 1024;
  CHECK(config::longest_sequence(m) == 4096);
  m.rope_factor = 8.0;
  CHECK(config::longest_sequence(m) == 8192);
  m.rope_factor = 1e300;  // positions are 32-bit integers
  CHECK(config::longest_sequence(m) == 2147483647);

  Parameters p = small_run();
  p.model.max_position_embeddings = 64;
  p.model.rope_type = "dynamic";
  p.model.rope_factor = 2.0;
  p.training.sequence_length = 128;
  CHECK_NOTHROW(config::resolve(p, 1));
  p.training.sequence_length = 129;
  expect_words(error_of(p),
               {"sequence_length = 129", "max_position_embeddings = 64", "128 tokens"});
}

TEST_CASE("the family and its positions must agree") {
  Parameters p = small_run();
  p.model.model_type = "llama";
  p.model.rope_type = "llama3";
  CHECK_NOTHROW(config::resolve(p, 1));
  p.model.rope_low_freq_factor = 4.0;
  expect_words(error_of(p), {"rope_high_freq_factor = 4", "above model.rope_low_freq_factor = 4"});
  p = small_run();
  p.model.rope_factor = 32.0;
  expect_words(error_of(p), {"rope_factor = 32", "rope_type = \"default\""});
  p = small_run();
  p.model.rope_original_max_position_embeddings = 4096;
  expect_words(error_of(p), {"rope_original_max_position_embeddings = 4096", "rope_type"});

  Parameters gpt2 = small_run();
  gpt2.model.model_type = "gpt2";
  gpt2.model.num_key_value_heads = 0;
  p = gpt2;
  CHECK_NOTHROW(config::resolve(p, 1));
  CHECK(p.model.num_key_value_heads == 8);
  p = gpt2;
  p.model.rope_type = "llama3";
  expect_words(error_of(p), {"rope_type = \"llama3\"", "gpt2", "remove"});
  p = gpt2;
  p.model.num_key_value_heads = 2;
  expect_words(error_of(p), {"num_key_value_heads = 2", "gpt2", "use 8"});
  p = gpt2;
  p.model.head_dim = 16;
  expect_words(error_of(p), {"head_dim = 16", "gpt2", "hidden_size = 64"});
  p = gpt2;
  p.training.sequence_length = 64;
  p.model.max_position_embeddings = 32;
  expect_words(error_of(p), {"sequence_length = 64", "max_position_embeddings = 32"});
}

TEST_CASE("a budget of recomputation needs a size, and its blocks must be those of the model") {
  Parameters p = small_run();
  p.memory.recompute = "budget";
  CHECK_NOTHROW(config::resolve(p, 1));  // a GPU knows what it has free
  p.device.backend = "host";
  testing::expect_words(error_of(p), {"memory.recompute = \"budget\"", "device.memory_gib"});
  p.device.memory_gib = 1.0;
  CHECK_NOTHROW(config::resolve(p, 1));
  p.device.memory_gib = 0.0;
  p.memory.recompute_blocks = {1, 0, 0, p.model.num_hidden_layers - 1};
  CHECK_NOTHROW(config::resolve(p, 1));
  const std::vector<std::vector<std::int64_t>> wrong = {
      {1, 0, 0, p.model.num_hidden_layers},
      {p.model.num_hidden_layers},
      {-1, 1, 0, p.model.num_hidden_layers},
      {INT64_MAX, 0, INT64_MAX, p.model.num_hidden_layers + 2}};
  for (const std::vector<std::int64_t>& blocks : wrong) {
    p.memory.recompute_blocks = blocks;
    testing::expect_words(error_of(p), {"memory.recompute_blocks", "none, selective, mlp and full",
                                        "model.num_hidden_layers"});
  }
  p.memory.recompute = "mlp";
  p.memory.recompute_blocks = {0, 0, p.model.num_hidden_layers, 0};
  testing::expect_words(error_of(p), {"memory.recompute_blocks", "\"mlp\"", "remove it"});
}

TEST_CASE("length and schedule must agree") {
  Parameters p = small_run();
  p.training.steps = 0;
  expect_words(error_of(p), {"training.steps", "training.tokens"});
  p.training.steps = std::int64_t{1} << 60;
  expect_words(error_of(p), {"training.steps", "64 bits"});
  p = small_run();
  p.schedule.warmup_steps = 11;
  expect_words(error_of(p), {"warmup_steps = 11", "training.steps = 10"});
  p = small_run();
  p.schedule.name = "warmup_stable_decay";
  expect_words(error_of(p), {"warmup_stable_decay", "decay_steps", "constant"});
  p.schedule.warmup_steps = 6;
  p.schedule.decay_steps = 5;
  expect_words(error_of(p), {"6 + 5", "training.steps = 10", "at most 4"});
  p = small_run();
  p.schedule.decay_steps = 5;
  expect_words(error_of(p), {"decay_steps = 5", "cosine", "warmup_stable_decay"});
  p = small_run();
  p.schedule.min_learning_rate = 1.0;
  expect_words(error_of(p), {"min_learning_rate = 1", "learning_rate = 0.0003"});
  p = small_run();
  p.optimizer.eps = 0.0;
  expect_words(error_of(p), {"optimizer.eps", "above 0"});
}

TEST_CASE("a training run needs data and a place") {
  Parameters p = small_run();
  p.data.train = "";
  expect_words(error_of(p), {"data.train", "tokenize"});
  CHECK_NOTHROW(config::resolve(p, 1, Use::planning));
  p = small_run();
  p.validation.interval = 5;
  expect_words(error_of(p), {"validation.interval = 5", "data.validation"});
  p = small_run();
  p.checkpoint.keep_every = 10;
  expect_words(error_of(p), {"keep_every = 10", "checkpoint.interval"});
  p.checkpoint.interval = 4;
  expect_words(error_of(p), {"keep_every = 10", "interval = 4", "8 or 12"});
  p = small_run();
  p.output.directory = "";
  expect_words(error_of(p), {"output.directory"});
  p = small_run();
  p.run.time_limit = "soon";
  expect_words(error_of(p), {"run.time_limit = \"soon\"", "[D-]HH:MM:SS"});
  p.run.time_limit = "10";
  expect_words(error_of(p), {"run.time_limit", "run.time_margin = 15"});
}

TEST_CASE("a fault that cannot be injected and a rollback without checkpoints are refused") {
  Parameters p = small_run();
  p.debug.faults = {"nan-gradient@3:1", "flood@3", "kill-rank@0", "stop-rank@2:x"};
  p.run.on_spike = "rollback";
  p.checkpoint.interval = 0;
  expect_words(error_of(p), {"nan-gradient@3:1", "1 rank", "flood@3", "kill-rank@0",
                             "stop-rank@2:x", "loss-spike", "run.on_spike", "checkpoint.interval"});
}

TEST_CASE("sources stand in place of data.train, each with its own shards and a weight") {
  Parameters p = small_run();
  p.data.sources = {{.train = "a", .weight = 1.0, .name = ""}};
  expect_words(error_of(p), {"data.train", "data.sources", "both"});
  p.data.train = "";
  CHECK_NOTHROW(config::resolve(p, 1));
  p.data.sources.push_back({.train = "b", .weight = 0.0, .name = "second"});
  expect_words(error_of(p), {"data.sources[1].weight = 0", "above 0"});
  p.data.sources[1] = {.train = "", .weight = 2.0, .name = "second"};
  expect_words(error_of(p), {"data.sources[1]", "train"});
  p.data.sources[1] = {.train = "a", .weight = 2.0, .name = "second"};
  expect_words(error_of(p), {"data.sources[0] and [1]", "\"a\""});
  p.data.sources = {{.train = "a", .weight = 1.0, .name = "x"},
                    {.train = "b", .weight = 1.0, .name = "x"}};
  expect_words(error_of(p), {"data.sources[0] and [1]", "\"x\"", "name"});
  p.data.sources.clear();
  expect_words(error_of(p), {"data.train", "data.sources", "tokenize"});
}

TEST_CASE("all problems are reported at once, a line each") {
  Parameters p = small_run();
  p.model.head_dim = 7;
  p.training.steps = 0;
  p.data.train = "";
  CHECK(testing::num_lines(error_of(p)) == 3);
}

TEST_CASE("values that a program set out of range are found") {
  Parameters p = small_run();
  p.training.micro_batch_size = 0;
  expect_words(error_of(p), {"training.micro_batch_size = 0", "1 to 65536"});
  p = small_run();
  p.training.dtype = "int8";
  expect_words(error_of(p), {"training.dtype", "\"int8\"", "float32"});
}

TEST_CASE("two things to evaluate or to continue are one too many") {
  Parameters p;
  p.evaluation.text = "a.txt";
  p.evaluation.tokens = "b.h5";
  const std::string both = error_of(p, 1, Use::evaluation);
  expect_words(both, {"evaluation.text = \"a.txt\"", "evaluation.tokens = \"b.h5\"", "name one"});
  p.evaluation.tokens.clear();
  p.evaluation.logits = "c.h5";
  const std::string alone = error_of(p, 1, Use::evaluation);
  expect_words(alone, {"evaluation.logits = \"c.h5\"", "evaluation.tokens"});
  config::resolve(p, 1, Use::generation);  // nothing to it
  p.generate.prompt = "a";
  p.generate.prompts = "d.txt";
  const std::string prompts = error_of(p, 1, Use::generation);
  expect_words(prompts, {"generate.prompt ", "generate.prompts = \"d.txt\"", "name one"});
}

TEST_CASE("each command needs its own tables") {
  Parameters p = small_run();
  p.data.train = "";
  p.training.steps = 0;
  p.bench.steps = 3;
  config::resolve(p, 2, Use::bench);
  CHECK(p.training.steps == p.bench.warmup_steps + 3);

  // A checkpoint has its model and runs on whatever ranks there are.
  for (const Use use : {Use::evaluation, Use::generation}) {
    Parameters q;
    q.parallel.data = 16;
    config::resolve(q, 1, use);
    CHECK(q.parallel.data == 1);
  }
  Parameters g;
  g.generate.top_p = 0.0;
  expect_words(error_of(g, 1, Use::generation), {"generate.top_p", "temperature"});

  expect_words(error_of(Parameters(), 1, Use::tokenizing),
               {"tokenize.input", "tokenize.output", "data.tokenizer"});
  Parameters t;
  t.tokenize.input = {"a.txt"};
  t.tokenize.output = "shards";
  t.data.tokenizer = "tokenizer.json";
  CHECK_NOTHROW(config::resolve(t, 5, Use::tokenizing));
}

TEST_CASE("a dry run knows how many ranks the input asks for") {
  Parameters p;
  CHECK(config::declared_ranks(p) == 1);
  p.parallel.tensor = 8;
  CHECK(config::declared_ranks(p) == 8);
  p.parallel.data = 16;
  CHECK(config::declared_ranks(p) == 128);
  p.parallel.tensor = std::int64_t{1} << 40;  // out of range: resolve says so
  CHECK(config::declared_ranks(p) > 0);
}

TEST_CASE("durations") {
  CHECK(config::parse_duration("90") == 90.0);
  CHECK(config::parse_duration("1.5") == 1.5);
  CHECK(config::parse_duration("10:30") == 630.0);
  CHECK(config::parse_duration("01:30:05") == 5405.0);
  CHECK(config::parse_duration("100:00:00") == 360000.0);
  CHECK(config::parse_duration("2-01:00:00") == 176400.0);
  for (const char* bad : {"", "soon", "1:", ":30", "1:60", "1:60:00", "-5", "1-30", "1-10:30",
                          "1:2:3:4", "1e400", "nan", "1 h", "2-", "0:-1"}) {
    INFO(bad);
    CHECK_FALSE(config::parse_duration(bad).has_value());
  }
}
