#include <catch2/catch.hpp>
#include <utility>

#include "base/error.hpp"
#include "inference/prompts.hpp"
#include "support/scratch_folder.hpp"

using namespace espalier;
using inference::Prompt;
using Texts = std::vector<std::pair<std::uint64_t, std::string>>;

namespace {

Texts read(std::string_view text, bool json_lines = false) {
  Texts texts;
  for (const Prompt& prompt : inference::prompts_of_text("p", text, json_lines, {"text"}))
    texts.emplace_back(prompt.line, prompt.text);
  return texts;
}

}  // namespace

TEST_CASE("a line is a prompt, without its line end, and a blank one is none") {
  CHECK(read("a\nb") == Texts{{1, "a"}, {2, "b"}});
  CHECK(read("a\nb\n") == Texts{{1, "a"}, {2, "b"}});
  CHECK(read("\n  \t\n\n a \n") == Texts{{4, " a "}});
  CHECK(read("a\r\n\r\nb\r\n") == Texts{{1, "a"}, {3, "b"}});
  CHECK(read("a\rb\r\r\n") == Texts{{1, "a\rb\r"}});  // only the one before \n ends the line
  CHECK(read(std::string_view("a\0b\n", 4)) == Texts{{1, std::string("a\0b", 3)}});
  CHECK(read("").empty());
  CHECK(read("\n").empty());
}

TEST_CASE("a byte-order mark is no text at the beginning of a file, and only there") {
  const std::string mark = "\xEF\xBB\xBF";
  CHECK(read(mark + "a\n" + mark + "b") == Texts{{1, "a"}, {2, mark + "b"}});
  CHECK(read(mark).empty());
  CHECK(read(mark + R"({"text": "a"})", true) == Texts{{1, "a"}});
}

TEST_CASE("a prompt of standard input is UTF-8, without the byte-order mark before it") {
  CHECK(inference::prompt_of_stream("\xEF\xBB\xBF fox\n") == " fox\n");
  CHECK(inference::prompt_of_stream("fox\xEF\xBB\xBF") == "fox\xEF\xBB\xBF");
  CHECK(inference::prompt_of_stream("").empty());
  for (const char* text : {"fox\xFF", "r\xE9sum\xE9", "\xEF\xBB"})
    CHECK_THROWS_WITH(inference::prompt_of_stream(text), Catch::Contains("not UTF-8"));
}

TEST_CASE("JSON lines give their text, which may be empty and may have line ends") {
  CHECK(read("{\"text\": \"a\\r\\n\"}\r\n\n{\"text\": \"\"}", true) ==
        Texts{{1, "a\r\n"}, {3, ""}});
  for (const char* bad : {"{\"text\": \"a\"}\n[1]", "{\"text\": \"a\"}\n{\"x\": \"a\"}",
                          "{\"text\": \"a\"}\n{\"text\": 1}", "{\"text\": \"a\"}\n{"})
    CHECK_THROWS_WITH(read(bad, true), Catch::StartsWith("p:2: "));
}

TEST_CASE("a file of prompts is JSON lines by its name, and has one at least") {
  const testing::ScratchFolder folder;
  testing::write_file(folder / "a.jsonl", "{\"text\": \"a\"}\n");
  testing::write_file(folder / "a.txt", "{\"text\": \"a\"}\n");
  testing::write_file(folder / "blank.txt", "\n \n");
  testing::write_file(folder / "a", "{\"text\": \"a\"}\n");
  testing::write_file(folder / "a.npy", "a\n");
  testing::write_file(folder / "utf16.txt",
                      "\xFF\xFE"
                      "a");
  const auto first_of = [&](const char* name) {
    const auto file = folder / name;
    return inference::prompts_of_file(file, inference::read_prompt_file(file, {"text"}), {"text"})
        .front()
        .text;
  };
  CHECK(first_of("a.jsonl") == "a");
  CHECK(first_of("a") == "a");
  CHECK(first_of("a.txt") == "{\"text\": \"a\"}");
  CHECK_THROWS_WITH(first_of("blank.txt"),
                    Catch::Contains("blank.txt") && Catch::Contains("no prompt"));
  CHECK_THROWS_WITH(first_of("a.npy"), Catch::Contains("a.npy"));
  CHECK_THROWS_WITH(first_of("utf16.txt"), Catch::Contains("UTF-16"));
}
