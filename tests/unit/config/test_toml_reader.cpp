#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "io/toml_reader.hpp"
#include "support/expect_error.hpp"

using namespace espalier;
using config::Parameters;
using testing::expect_words;

namespace {

Parameters read(const std::string& text, const std::vector<std::string>& overrides = {}) {
  Parameters parameters;
  io::read_parameters(text, "run.toml", overrides, parameters);
  return parameters;
}

std::string error_of(const std::string& text, const std::vector<std::string>& overrides = {},
                     ExitStatus status = ExitStatus::bad_configuration) {
  return testing::message_of([&] { read(text, overrides); }, status);
}

/// A folder of this test that is gone afterwards.
struct Folder {
  std::filesystem::path path;
  explicit Folder(const std::string& name)
      : path(std::filesystem::path(ESPALIER_BINARY_DIR) / ("test_toml_reader_" + name)) {
    std::filesystem::remove_all(path);
    std::filesystem::create_directories(path);
  }
  ~Folder() { std::filesystem::remove_all(path); }
  std::string write(const std::string& name, const std::string& text) const {
    std::filesystem::create_directories((path / name).parent_path());
    std::ofstream(path / name) << text;
    return (path / name).string();
  }
};

}  // namespace

TEST_CASE("values of every type are read, and what is not named keeps its default") {
  const Parameters p = read(R"(
[run]
name = "first"
[training]
steps = 7
tokens = 80e9          # a whole number, as people write it
[model]
rope_theta = 500000    # an integer for a number
tie_word_embeddings = true
[tokenize]
input = ["a.txt", "b.txt"]
)");
  CHECK(p.run.name == "first");
  CHECK(p.training.steps == 7);
  CHECK(p.training.tokens == 80'000'000'000);
  CHECK(p.model.rope_theta == 500000.0);
  CHECK(p.model.tie_word_embeddings);
  CHECK(p.tokenize.input == std::vector<std::string>{"a.txt", "b.txt"});
  CHECK(p.training.sequence_length == Parameters().training.sequence_length);
}

TEST_CASE("unknown names say file, line and the nearest name") {
  CHECK(error_of("[training]\n\nglobal_batchsize = 8\n") ==
        "run.toml:3: unknown key training.global_batchsize; did you mean "
        "training.global_batch_size?");
  expect_words(error_of("[model]\nsequence_length = 8\n"),
               {"run.toml:2", "model.sequence_length", "did you mean training.sequence_length?"});
  expect_words(error_of("[trianing]\nsteps = 8\n"), {"run.toml:1", "did you mean [training]?"});
  expect_words(error_of("[zzzzzz]\n"), {"run.toml:1", "[zzzzzz]", "espalier help parameters"});
  expect_words(error_of("[run]\nqqqqqqq = 1\n"), {"run.qqqqqqq", "help parameters run"});
  expect_words(error_of("steps = 8\n"), {"run.toml:1", "outside a table", "training.steps"});
  expect_words(error_of("training = 8\n"), {"run.toml:1", "[training]"});
}

TEST_CASE("wrong types say what is needed and what was found") {
  expect_words(error_of("[training]\nsteps = \"many\"\n"),
               {"run.toml:2", "training.steps", "integer", "\"many\""});
  expect_words(error_of("[training]\nsteps = 1.5\n"), {"training.steps", "whole number", "1.5"});
  expect_words(error_of("[training]\nsteps = 1e300\n"), {"training.steps", "whole number"});
  expect_words(error_of("[model]\ntie_word_embeddings = 1\n"),
               {"model.tie_word_embeddings", "true or false", "1"});
  expect_words(error_of("[run]\nname = 5\n"), {"run.name", "string", "5"});
  expect_words(error_of("[optimizer]\neps = []\n"), {"optimizer.eps", "number", "a list"});
  expect_words(error_of("[tokenize]\ninput = [1]\n"), {"tokenize.input", "list of strings"});
  expect_words(error_of("[model]\neos_token_id = [\"a\"]\n"),
               {"model.eos_token_id", "list of integers"});
  expect_words(error_of("[model]\neos_token_id = [1, -2]\n"), {"model.eos_token_id", "-2"});
  expect_words(error_of("[run]\ntime_limit = 01:30:00\n"), {"run.time_limit", "string in quotes"});
}

TEST_CASE("values out of range say what is allowed") {
  expect_words(error_of("[training]\nseed = -1\n"),
               {"run.toml:2", "training.seed = -1", "at least 0"});
  expect_words(error_of("[parallel]\ncontext = 0\n"), {"parallel.context = 0", "1 to 65536"});
  expect_words(error_of("[optimizer]\nbeta1 = 1.0\n"), {"optimizer.beta1 = 1.0", "0.999999"});
  expect_words(error_of("[optimizer]\nbeta1 = nan\n"), {"optimizer.beta1", "nan"});
  expect_words(error_of("[optimizer]\nmax_grad_norm = inf\n"), {"optimizer.max_grad_norm"});
  expect_words(error_of("[training]\ndtype = \"bf16\"\n"),
               {"training.dtype", "\"bf16\"", "bfloat16 or float32"});
}

TEST_CASE("all mistakes of a file are reported, in the order of lines") {
  const std::string message = error_of("[training]\nstepz = 1\nseed = -1\n[modle]\n");
  CHECK(testing::num_lines(message) == 3);
  CHECK(message.find("run.toml:2") < message.find("run.toml:3"));
  CHECK(message.find("run.toml:3") < message.find("run.toml:4"));
}

TEST_CASE("mistakes of the file, the model file and the overrides are reported together") {
  const Folder folder("together");
  folder.write("m.toml", "[model]\nhidden_siz = 8\n[run]\n");
  const std::string input = folder.write("run.toml", "");
  const std::string text = "[model]\nfile = \"m.toml\"\n[training]\nseed = -1\n";
  const std::vector<std::string> overrides = {"training.stepz=3", "optimizer.beta1=2", "modl.x=1"};
  Parameters p;
  const std::string error =
      testing::message_of([&] { io::read_parameters(text, input, overrides, p); });
  expect_words(error, {"m.toml:2", "m.toml:3", "run.toml:4", "override training.stepz=3",
                       "override optimizer.beta1=2", "override modl.x=1"});
  CHECK(testing::num_lines(error) == 6);

  const config::Mistakes mistakes = io::read_parameters_noting(text, input, overrides, p);
  for (const char* key : {"training.seed", "training.steps", "optimizer.beta1", "model.vocab_size",
                          "model.hidden_size"})
    CHECK(mistakes.distrusts(key));
  CHECK_FALSE(mistakes.distrusts("training.tokens"));
  CHECK_FALSE(mistakes.distrusts("optimizer.beta2"));
  CHECK(mistakes.repeats("schedule.warmup_steps = 5 is above training.steps = 0: shorten it"));
  CHECK(mistakes.repeats("a sentence that ends with training.steps."));
  CHECK_FALSE(mistakes.repeats("training.steps_of_another_name and training.step"));
  expect_words(error_of("[model]\nfile = \"nowhere.toml\"\n[training]\nseed = -1\n"),
               {"nowhere.toml", "training.seed"});
}

TEST_CASE("a home directory is meant by ~ in paths, and by nothing else") {
  ::setenv("HOME", "/users/somebody", 1);
  const Parameters p = read(
      "[data]\ntrain = \"~/shards\"\n[run]\nname = \"~/x\"\n"
      "[[data.sources]]\ntrain = \"~/mixed\"\nname = \"~\"\n"
      "[generate]\nprompt = \"~/\"\n",
      {"output.directory=~/runs/a~b", "tokenize.input=[\"~/a\", \"b/~/c\"]", "data.validation=./~",
       "data.tokenizer=~", "evaluation.text=~root/x"});
  CHECK(p.data.train == "/users/somebody/shards");
  CHECK(p.data.sources[0].train == "/users/somebody/mixed");
  CHECK(p.data.sources[0].name == "~");
  CHECK(p.run.name == "~/x");
  CHECK(p.generate.prompt == "~/");
  CHECK(p.output.directory == "/users/somebody/runs/a~b");
  CHECK(p.tokenize.input == std::vector<std::string>{"/users/somebody/a", "b/~/c"});
  CHECK(p.data.validation == "./~");
  CHECK(p.data.tokenizer == "/users/somebody");
  CHECK(p.evaluation.text.ends_with("/x"));
  CHECK_FALSE(p.evaluation.text.starts_with("~"));
  expect_words(error_of("", {"output.directory=~nobody-of-this-name/runs"}),
               {"output.directory", "~nobody-of-this-name", "no user", "./~"});
  expect_words(error_of("[model]\nfile = \"~/nowhere.toml\"\n"), {"/users/somebody/nowhere.toml"});
}

TEST_CASE("text that is not TOML says the line") {
  expect_words(error_of("[training\nsteps = 1\n"), {"run.toml:1", "not TOML"});
  expect_words(error_of("[training]\nsteps =\n"), {"run.toml:2", "not TOML"});
  expect_words(error_of("[training]\nsteps = 1\nsteps = 2\n"), {"run.toml:3", "steps"});
  expect_words(error_of("[training]\ndtype = float32\n"), {"run.toml:2", "in quotes"});
  expect_words(error_of("[training]\ndtype = bf16\n"), {"run.toml:2", "in quotes"});
  expect_words(error_of("\xFF\xFE[\0r\0"), {"run.toml:1", "UTF-16", "UTF-8"});
}

TEST_CASE("overrides have the last word") {
  const Parameters p =
      read("[training]\nsteps = 7\n",
           {"training.steps=100", "run.name=plain", "data.train=shards/a=b.h5",
            "run.time_limit=01:30:00", "optimizer.learning_rate=1e-3",
            "model.tie_word_embeddings=true", "tokenize.input=[\"x\", \"y\"]",
            "generate.prompt=\"quoted\"", "training.tokens=2e6", "data.validation="});
  CHECK(p.training.steps == 100);
  CHECK(p.run.name == "plain");
  CHECK(p.data.train == "shards/a=b.h5");
  CHECK(p.run.time_limit == "01:30:00");
  CHECK(p.optimizer.learning_rate == 1e-3);
  CHECK(p.model.tie_word_embeddings);
  CHECK(p.tokenize.input == std::vector<std::string>{"x", "y"});
  CHECK(p.generate.prompt == "quoted");
  CHECK(p.training.tokens == 2'000'000);
  CHECK(p.data.validation.empty());
  CHECK(read("", {"run.name=42"}).run.name == "42");
  CHECK(read("", {"tokenize.input=one.txt"}).tokenize.input == std::vector<std::string>{"one.txt"});
  CHECK(read("", {"training.steps=1", "training.steps=2"}).training.steps == 2);
}

TEST_CASE("malformed overrides are an error of usage") {
  for (const char* text : {"steps=4", "training.steps", "=4", ".steps=4", "training.=4", "a.b.c=1"})
    expect_words(error_of("", {text}, ExitStatus::usage), {text, "section.key=value"});
}

TEST_CASE("overrides are checked like a file") {
  expect_words(error_of("", {"training.stepz=4"}),
               {"override training.stepz=4", "did you mean training.steps?"});
  expect_words(error_of("", {"trianing.steps=4"}), {"override", "did you mean [training]?"});
  expect_words(error_of("", {"training.steps=four"}), {"training.steps", "integer", "\"four\""});
  expect_words(error_of("", {"training.steps="}), {"training.steps", "integer"});
  expect_words(error_of("", {"training.seed=-1"}), {"training.seed = -1", "at least 0"});
  expect_words(error_of("", {"tokenize.input=[\"x"}), {"tokenize.input", "not TOML"});
  // A second key must not slip in behind a value.
  expect_words(error_of("", {"training.steps=1\ntokens = 3"}), {"training.steps", "integer"});
}

TEST_CASE("the model file comes first, then the input, then the overrides") {
  const Folder folder("order");
  folder.write("models/m.toml", "[model]\nhidden_size = 64\nhead_dim = 16\nvocab_size = 300\n");
  const std::string input = folder.write("runs/run.toml", "");
  const std::string text = "[model]\nvocab_size = 500\nfile = \"../models/m.toml\"\n";
  Parameters p;
  io::read_parameters(text, input, std::vector<std::string>{"model.head_dim=8"}, p);
  CHECK(p.model.hidden_size == 64);
  CHECK(p.model.vocab_size == 500);
  CHECK(p.model.head_dim == 8);

  SECTION("the command line may name another") {
    folder.write("models/other.toml", "[model]\nhidden_size = 128\n");
    Parameters q;
    io::read_parameters(text, input, std::vector<std::string>{"model.file=../models/other.toml"},
                        q);
    CHECK(q.model.hidden_size == 128);
    CHECK(q.model.head_dim == 0);
  }
  SECTION("a path from the working directory is found too") {
    Parameters q;
    const std::string absolute = (folder.path / "models/m.toml").string();
    io::read_parameters("", "run.toml", std::vector<std::string>{"model.file=" + absolute}, q);
    CHECK(q.model.hidden_size == 64);
  }
}

TEST_CASE("what is wrong with a model file says which file") {
  const Folder folder("model");
  const std::string input = folder.write("run.toml", "");
  const auto error = [&](const std::string& model_text) {
    folder.write("m.toml", model_text);
    return testing::message_of([&] {
      Parameters p;
      io::read_parameters("[model]\nfile = \"m.toml\"\n", input, {}, p);
    });
  };
  expect_words(error("[model]\nhiden_size = 1\n"), {"m.toml:2", "did you mean model.hidden_size?"});
  expect_words(error("[training]\nsteps = 1\n"), {"m.toml:1", "[model]", "[training]"});
  expect_words(error("[model]\nfile = \"x.toml\"\n"), {"m.toml:2", "model.file"});
  expect_words(error("[model\n"), {"m.toml:1", "not TOML"});
  expect_words(error_of("[model]\nfile = \"nowhere/m.toml\"\n"), {"model.file", "nowhere/m.toml"});
}

TEST_CASE("a loss law may stand in a file, as a model does, and the input changes keys of it") {
  const Folder folder("loss-law");
  const std::string input = folder.write("search.toml", "");
  const std::string law = folder.write("law.toml", "[loss_law]\ne = 1.5\nbeta = 0.4\n");
  Parameters p;
  io::read_parameters("[loss_law]\nfile = \"law.toml\"\nbeta = 0.5\n", input, {}, p);
  CHECK(p.loss_law.e == 1.5);
  CHECK(p.loss_law.beta == 0.5);
  Parameters q;
  io::read_parameters("", "command line", std::vector<std::string>{"loss_law.file=" + law}, q);
  CHECK(q.loss_law.beta == 0.4);
  const std::string dump = config::to_toml(q);
  CHECK_THAT(dump, Catch::Contains("# from the loss_law file"));
  CHECK(read(dump).loss_law.e == 1.5);
  folder.write("law.toml", "[model]\nvocab_size = 7\n");
  expect_words(testing::message_of([&] {
                 Parameters r;
                 io::read_parameters("[loss_law]\nfile = \"law.toml\"\n", input, {}, r);
               }),
               {"law.toml:1", "[loss_law]", "[model]"});
}

TEST_CASE("the dump of an input without a model reads back: tokenize and generate need none") {
  const std::string text = config::to_toml(Parameters());
  CHECK(config::to_toml(read(text)) == text);
  CHECK(read(text).model.vocab_size == 0);
}

TEST_CASE("the dump reads back as the same parameters, without any other file") {
  Parameters p = read("", {"run.name=a \"b\" \\ c", "optimizer.learning_rate=0.1",
                           "optimizer.eps=1.2345678901234567e-9", "model.rope_theta=1e6",
                           "training.seed=9223372036854775807", "tokenize.input=[\"x\", \"y\"]",
                           "generate.prompt=Grüße\n\tan alle", "model.tie_word_embeddings=true"});
  const std::string text = config::to_toml(p);
  CHECK(config::to_toml(read(text)) == text);
  const Parameters q = read(text);
  CHECK(q.run.name == p.run.name);
  CHECK(q.optimizer.eps == p.optimizer.eps);
  CHECK(q.training.seed == p.training.seed);
  CHECK(q.generate.prompt == p.generate.prompt);

  p.model.file = "gone/m.toml";
  const std::string with_file = config::to_toml(p);
  CHECK(with_file.find("# from the model file \"gone/m.toml\"") != std::string::npos);
  CHECK(read(with_file).model.file.empty());
}

TEST_CASE("a list of tables is read as TOML has it, from a file or the command line") {
  const std::string text = R"(
[data]
order = "sequential"
[[data.sources]]
train = "a \"b\" \\ c"
weight = 3
name = "first"
[[data.sources]]
train = "d"
)";
  const Parameters p = read(text);
  REQUIRE(p.data.sources.size() == 2);
  CHECK(p.data.sources[0].train == "a \"b\" \\ c");
  CHECK(p.data.sources[0].weight == 3.0);
  CHECK(p.data.sources[0].name == "first");
  CHECK(p.data.sources[1].train == "d");
  CHECK(p.data.sources[1].weight == 1.0);
  CHECK(p.data.sources[1].name.empty());
  CHECK(p.data.order == "sequential");

  // The dump in a checkpoint reads back as the same.
  const std::string dump = config::to_toml(p);
  CHECK(config::to_toml(read(dump)) == dump);
  CHECK(read(dump).data.sources[0].train == p.data.sources[0].train);

  // An override takes the place of the whole list.
  const Parameters q = read(text, {R"(data.sources=[{train = "x", weight = 0.5}])"});
  REQUIRE(q.data.sources.size() == 1);
  CHECK(q.data.sources[0].train == "x");
  CHECK(q.data.sources[0].weight == 0.5);
  CHECK(read(text, {"data.sources=[]"}).data.sources.empty());
}

TEST_CASE("what is wrong in a list of tables says where and what is allowed") {
  const auto error_in = [](const std::string& entry) {
    return error_of("[data]\n[[data.sources]]\ntrain = \"a\"\n[[data.sources]]\n" + entry);
  };
  expect_words(error_in("weigth = 2"),
               {"run.toml:", "data.sources", "weigth", "entry 2", "train, weight, name"});
  expect_words(error_in("weight = \"2\""), {"data.sources", "weight", "needs a number", "\"2\""});
  expect_words(error_in("weight = -1"), {"data.sources", "weight = -1", "entry 2", "0 to"});
  expect_words(error_in("weight = nan"), {"data.sources", "weight", "nan"});
  expect_words(error_in("weight = inf"), {"data.sources", "weight", "0 to"});
  expect_words(error_in("train = 7"), {"data.sources", "train", "needs a string"});
  expect_words(error_of("[data]\nsources = \"a\""), {"run.toml:2", "list of tables", "\"a\""});
  expect_words(error_of("[data]\nsources = [\"a\"]"), {"run.toml:2", "list of tables"});
  expect_words(error_of("", {"data.sources=a"}), {"data.sources", "list of tables"});
}
