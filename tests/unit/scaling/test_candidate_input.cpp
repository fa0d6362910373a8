// The files that a search writes of a candidate.
#include <catch2/catch.hpp>
#include <filesystem>
#include <sstream>

#include "base/text.hpp"
#include "io/toml_reader.hpp"
#include "plan/scaling/candidate_input.hpp"
#include "plan/scaling/search_space.hpp"
#include "support/expect_error.hpp"
#include "support/scratch_folder.hpp"

using namespace espalier;
using config::Parameters;

namespace {

Parameters input() {
  Parameters p;
  p.run.name = "a search";
  p.model.vocab_size = 151936;
  p.model.num_key_value_heads = 8;
  p.model.rope_theta = 5.0e5;
  p.training.global_batch_size = 512;
  p.search.budget = 1.36e21;
  p.search.flops = "published";
  p.search.layers = {24, 32};
  p.search.hidden_sizes = {1024, 2048};
  p.search.count_qk_norm = false;
  p.plan.hours = 60;
  return p;
}

/// The best candidate, and its files.
struct Best {
  explicit Best(const Parameters& p)
      : space(plan::space_of(p)),
        candidate(plan::search(space).candidates.front()),
        run(plan::run_of(p, candidate)),
        input(plan::candidate_input(run, candidate, space)) {}
  plan::SearchSpace space;
  plan::Candidate candidate;
  Parameters run;
  plan::CandidateInput input;
};

}  // namespace

TEST_CASE("the run of a candidate is the input of the search with its sizes and tokens") {
  const Best best(input());
  CHECK(best.input.name == "qwen3-1.83b-l24-h2048-a16");
  CHECK(best.run.run.name == best.input.name);
  CHECK(best.run.output.directory == "runs/" + best.input.name);
  CHECK(best.run.model.num_hidden_layers == 24);
  CHECK(best.run.model.rope_theta == 5.0e5);
  CHECK(best.run.training.global_batch_size == 512);
  CHECK(best.run.training.tokens == 81'727'272'727);
  CHECK(best.run.search.budget == 0.0);
}

TEST_CASE("written files are read as that run, and resolve") {
  const testing::ScratchFolder folder;
  const Best best(input());
  plan::write_candidate_input((folder / "new/plans").string(), best.input);
  const std::filesystem::path file = folder / ("new/plans/" + best.input.name + "-run.toml");
  Parameters read;
  io::read_parameters(testing::read_file(file), file.string(), {}, read);
  Parameters expected = best.run;
  expected.plan = {};  // of the search; a run has none
  read.model.file.clear();
  CHECK(config::to_toml(read) == config::to_toml(expected));
  config::resolve(read, 1, config::Use::planning);
  CHECK(model::Architecture::from(read.model).num_parameters() == 1'830'389'760 + 24 * 256);
}

TEST_CASE("the files say what they are for and what is expected, in lines of 100 columns") {
  const Best best(input());
  testing::expect_words(best.input.model_file,
                        {"parameters.", "Purpose:", "1.36e+21 FLOPs (published count)", "2.339658",
                         "8.173e+10 tokens"});
  testing::expect_words(
      best.input.run_file,
      {"Step Law", "file = \"qwen3-1.83b-l24-h2048-a16.toml\"", "train = \"data/shards\""});
  for (const std::string& text : {best.input.model_file, best.input.run_file}) {
    std::istringstream lines(text);
    for (std::string line; std::getline(lines, line);) {
      INFO(line);
      CHECK(line.size() <= 100);
    }
  }
  // As of every model file: its first line has the number of all parameters.
  CHECK_THAT(best.input.model_file, Catch::Contains(", 1,830,395,904 parameters."));
}

TEST_CASE("nothing is overwritten, and then nothing is written either") {
  const testing::ScratchFolder folder;
  const Best best(input());
  const std::filesystem::path run = folder / (best.input.name + "-run.toml");
  testing::write_file(run, "mine");
  const auto write = [&] { plan::write_candidate_input(folder.path().string(), best.input); };
  CHECK_THROWS_WITH(write(), Catch::Contains("plan.write") && Catch::Contains(run.string()));
  CHECK(testing::read_file(run) == "mine");
  CHECK_FALSE(std::filesystem::exists(folder / (best.input.name + ".toml")));
  CHECK_THROWS_WITH(plan::write_candidate_input(run.string(), best.input),
                    Catch::Contains("plan.write") && Catch::Contains("folder"));
}

TEST_CASE("data that the search names are the run's, and nothing is said to be missing") {
  Parameters p = input();
  p.data.train = "data/shards";
  const Best best(p);
  testing::expect_words(best.input.run_file, {"[data]", "train = \"data/shards\""});
  CHECK(best.input.run_file.find("missing") == std::string::npos);
}
