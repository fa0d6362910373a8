#include <sys/stat.h>

#include <algorithm>
#include <catch2/catch.hpp>

#include "base/error.hpp"
#include "io/text_inputs.hpp"
#include "packing.hpp"
#include "support/scratch_folder.hpp"

using namespace espalier;
using Catch::Matchers::Contains;
using espalier::testing::ScratchFolder;
using espalier::testing::write_file;
namespace fs = std::filesystem;

namespace {

io::TextInputs list(const std::vector<std::string>& names,
                    std::optional<io::TextFormat> format = {}) {
  return io::list_text_inputs(names, format, "tokenize.input");
}

std::string error_of(const std::vector<std::string>& names) {
  try {
    list(names);
  } catch (const Error& error) {
    CHECK(error.status() == ExitStatus::bad_data);
    return error.what();
  }
  FAIL("no error was thrown");
  return "";
}

/// The reason for which a file of this name was left out; empty: it was not.
std::string why_left_out(const io::TextInputs& inputs, const std::string& name) {
  for (const auto& left_out : inputs.left_out)
    for (const auto& path : left_out.paths)
      if (path.filename() == name) return left_out.why;
  return "";
}

}  // namespace

TEST_CASE("A folder stands for all texts below it, and says what it leaves out", "[text_inputs]") {
  const ScratchFolder folder;
  const std::string json = "{\"text\": \"a\"}\n";
  fs::create_directories(folder / "b/deep");
  fs::create_directories(folder / ".cache");
  write_file(folder / "c.txt", "text");
  write_file(folder / "a.jsonl", json);
  write_file(folder / "b/deep/x.NDJSON.gz", testing::gzip(json));
  write_file(folder / "b/y.jsonl.1", json);
  write_file(folder / "README.md", "not for training");
  write_file(folder / "w.csv", "a,b");
  write_file(folder / "_SUCCESS", "");
  write_file(folder / ".cache/hidden.txt", "text");
  fs::create_symlink("nowhere", folder / "dangling.txt");
  fs::create_directory_symlink("..", folder / "b/loop");
  REQUIRE(::mkfifo((folder / "pipe.txt").c_str(), 0600) == 0);

  const io::TextInputs inputs = list({folder.path().string()});
  CHECK(inputs.files == std::vector<fs::path>{folder / "a.jsonl", folder / "b/deep/x.NDJSON.gz",
                                              folder / "b/y.jsonl.1", folder / "c.txt"});
  CHECK(inputs.streams.empty());
  CHECK(inputs.named_twice.empty());
  for (const char* name : {"README.md", "w.csv", "_SUCCESS"})
    CHECK_THAT(why_left_out(inputs, name), Contains("names that say neither"));
  CHECK_THAT(why_left_out(inputs, ".cache"), Contains("hidden"));
  CHECK_THAT(why_left_out(inputs, "dangling.txt"), Contains("lead nowhere"));
  CHECK_THAT(why_left_out(inputs, "loop"), Contains("already"));
  CHECK_THAT(why_left_out(inputs, "pipe.txt"), Contains("pipes"));
  CHECK(why_left_out(inputs, "hidden.txt") == "");
}

TEST_CASE("A folder without a text, a missing name and files that are no text are errors",
          "[text_inputs]") {
  const ScratchFolder folder;
  fs::create_directories(folder / "empty/below");
  write_file(folder / "a.parquet", "PAR1");
  write_file(folder / "b.txt", std::string("\xFF\xFEh\0i\0", 6));
  write_file(folder / "c.txt", "fine");
  write_file(folder / "d.foo", "unknown");
  const auto name = [&](const char* file) { return (folder / file).string(); };
  CHECK_THAT(error_of({name("empty")}), Contains("holds no text") && Contains("tokenize.input"));
  CHECK_THAT(error_of({name("none.txt")}), Contains("no such file") && Contains("tokenize.input"));
  CHECK_THAT(
      error_of({name("a.parquet"), name("c.txt"), name("b.txt"), name("d.foo")}),
      Contains("3 inputs") && Contains("Parquet") && Contains("UTF-16") && Contains("d.foo"));
  CHECK_THAT(error_of({name("none.txt"), name("empty"), name("c.txt"), name("b.txt"), name("no")}),
             Contains("4 inputs") && Contains("none.txt: there is no such") &&
                 Contains("empty: the folder holds no text") && Contains("UTF-16") &&
                 Contains("no: there is no such"));
  CHECK(list({name("d.foo")}, io::TextFormat::plain).files.size() == 1);
}

TEST_CASE("What is named twice is said, and a stream cannot be", "[text_inputs]") {
  const ScratchFolder folder;
  write_file(folder / "a.txt", "text");
  fs::create_hard_link(folder / "a.txt", folder / "b.txt");
  const io::TextInputs inputs = list({(folder / "a.txt").string(), folder.path().string()});
  CHECK(inputs.files.size() == 3);
  CHECK(inputs.named_twice.size() == 2);
  REQUIRE(::mkfifo((folder / "pipe").c_str(), 0600) == 0);
  const std::string pipe = (folder / "pipe").string();
  CHECK(list({pipe}).streams == std::vector<fs::path>{pipe});
  CHECK_THAT(error_of({pipe, pipe}), Contains("twice") && Contains("tokenize.input"));
}
