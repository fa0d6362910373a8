#include <catch2/catch.hpp>
#include <vector>

#include "commands/build_info.hpp"
#include "commands/command_line.hpp"
#include "config/reference.hpp"

using namespace espalier;
using commands::CommandLine;

namespace {

CommandLine parse(std::vector<const char*> words) {
  words.insert(words.begin(), "espalier");
  return commands::parse_command_line(static_cast<int>(words.size()), words.data());
}

std::string usage_error(const std::vector<const char*>& words) {
  try {
    parse(words);
  } catch (const Error& error) {
    CHECK(error.status() == ExitStatus::usage);
    CHECK(error.met() == Met::by_every_rank);
    return error.what();
  }
  FAIL("no error");
  return {};
}

bool has(const std::string& text, const std::string& words) {
  return text.find(words) != std::string::npos;
}

}  // namespace

TEST_CASE("a command has an input file, overrides and flags in any order") {
  const CommandLine line =
      parse({"train", "--dry-run", "training.steps=3", "runs/lr=1/in.toml", "data.train=a/b=c"});
  REQUIRE(line.command != nullptr);
  CHECK(line.command->name == "train");
  CHECK(line.dry_run);
  CHECK(line.input_file == "runs/lr=1/in.toml");
  CHECK(line.overrides == std::vector<std::string>{"training.steps=3", "data.train=a/b=c"});
  CHECK_FALSE(line.answer.has_value());
}

TEST_CASE("values with brackets, quotes and minus signs arrive whole") {
  const CommandLine line = parse({"tokenize", "in.toml", "tokenize.input=[\"a\", \"b\"]",
                                  "training.seed=-1", "generate.prompt=two words, one comma"});
  CHECK(line.overrides == std::vector<std::string>{"tokenize.input=[\"a\", \"b\"]",
                                                   "training.seed=-1",
                                                   "generate.prompt=two words, one comma"});
}

TEST_CASE("options are short for keys: of texts, which are quoted, of numbers, of switches") {
  CHECK(parse({"verify-resume", "runs/mine", "--steps", "5", "--from", "-1"}).overrides ==
        std::vector<std::string>{"verify.from=-1", "verify.steps=5"});
  CHECK(parse({"inspect", "--difference", "a", "b"}).overrides ==
        std::vector<std::string>{"inspect.difference=true"});
  CHECK(parse({"inspect", "--difference", "a", "b"}).paths == std::vector<std::string>{"a", "b"});
  CHECK(parse({"report", "runs/mine", "--write", "5"}).overrides ==
        std::vector<std::string>{"report.write=\"5\""});
  CHECK(has(usage_error({"verify-resume", "runs/mine", "--write", "a"}), "no option --write"));
  CHECK(has(usage_error({"verify-resume", "runs/mine", "--steps"}), "--steps"));
  CHECK(has(usage_error({"verify-resume", "runs/mine", "--dry-run"}), "--dry-run"));
}

TEST_CASE("every command of the table is reached, with an input or with paths") {
  for (const commands::Command& command : commands::command_table()) {
    const std::string name(command.name);
    INFO(name);
    const CommandLine line = parse({name.c_str(), "some/path"});
    CHECK(line.command == &command);
    const int ways =
        (command.run != nullptr ? 1 : 0) + (command.run_on_paths_with_input != nullptr ? 1 : 0);
    CHECK(ways == 1);
    CHECK(line.paths.size() == (command.run != nullptr ? 0U : 1U));
    CHECK_FALSE(command.summary.empty());
    CHECK(has(*parse({"help", name.c_str()}).answer, "espalier " + name));
    CHECK(*parse({name.c_str(), "--help"}).answer == *parse({"help", name.c_str()}).answer);
    CHECK(has(*parse({"help"}).answer, "\n  " + name + " "));
  }
}

TEST_CASE("a path may be called like a command") {
  CHECK(parse({"inspect", "bench", "help"}).paths == std::vector<std::string>{"bench", "help"});
  CHECK(parse({"train", "eval"}).input_file == "eval");
}

TEST_CASE("help and version") {
  CHECK(*parse({"--help"}).answer == *parse({"help"}).answer);
  CHECK(*parse({"help", "help"}).answer == *parse({"help"}).answer);
  CHECK(*parse({"help", "parameters"}).answer == config::reference_page());
  CHECK(*parse({"help", "parameters", "model"}).answer == config::reference_page("model"));
  const std::string version = *parse({"--version"}).answer;
  CHECK(version == commands::build_description() + "\nSIMD      " + commands::simd_levels_here());
  for (const char* words : {"espalier 0.", "GNU", "Open MPI 4", "HDF5", "oneDNN", "Kokkos"})
    CHECK(has(version, words));
  // A library whose version was not found would leave an empty column.
  CHECK_FALSE(has(version, " \n"));
}

TEST_CASE("a wrong command line says what would be right") {
  CHECK(has(usage_error({}), "espalier help"));
  CHECK(has(usage_error({"tarin", "x.toml"}), "did you mean train?"));
  CHECK(has(usage_error({"qqqqqqqqq"}), "espalier help"));
  CHECK(has(usage_error({"train"}), "espalier train input.toml"));
  CHECK(has(usage_error({"train", "--dry-run"}), "name an input file"));
  CHECK(has(usage_error({"inspect"}), "espalier inspect path"));
  CHECK(has(usage_error({"train", "a.toml", "b.toml"}), "a.toml and b.toml"));
  CHECK(has(usage_error({"train", "a.toml", "--dryrun"}), "--dryrun"));
  CHECK(has(usage_error({"help", "trian"}), "did you mean train?"));
  CHECK(has(usage_error({"help", "parameters", "trainig"}), "did you mean [training]?"));
  CHECK(has(usage_error({"help", "parameters", "model", "run"}), "at most one table"));
  CHECK(has(usage_error({"help", "train", "eval"}), "one command"));
}

TEST_CASE("a command on paths with input tells file names from overrides") {
  const CommandLine line = parse({"convert", "./a=b", "data.tokenizer=x/y", "runs/to/somewhere",
                                  "convert.dtype=float16", "--dry-run"});
  CHECK(line.paths == std::vector<std::string>{"./a=b", "runs/to/somewhere"});
  CHECK(line.overrides == std::vector<std::string>{"data.tokenizer=x/y", "convert.dtype=float16"});
  CHECK(line.dry_run);
}
