#include <catch2/catch.hpp>

#include "base/error.hpp"
#include "huggingface/prompt_prefix.hpp"
#include "support/scratch_folder.hpp"

using namespace espalier;

namespace {

std::string prefix_of(const std::string& text) {
  const testing::ScratchFolder folder;
  testing::write_file(folder / "tokenizer.json", text);
  return huggingface::prompt_prefix(folder / "tokenizer.json");
}

}  // namespace

TEST_CASE("the special tokens in front of a text are those of the template") {
  const std::string llama3 = R"({"type": "TemplateProcessing", "single": [
      {"SpecialToken": {"id": "<|begin_of_text|>", "type_id": 0}},
      {"Sequence": {"id": "A", "type_id": 0}}, {"SpecialToken": {"id": "</s>", "type_id": 0}}]})";
  CHECK(prefix_of(R"({"post_processor": )" + llama3 + "}") == "<|begin_of_text|>");
  CHECK(prefix_of(R"({"post_processor": {"type": "Sequence", "processors": [
      {"type": "ByteLevel"}, )" +
                  llama3 + "]}}") == "<|begin_of_text|>");
  CHECK(prefix_of(R"({"post_processor": {"type": "ByteLevel"}})").empty());
  CHECK(prefix_of(R"({"post_processor": null})").empty());
  CHECK(prefix_of("{}").empty());
  CHECK(huggingface::prompt_prefix("nowhere/tokenizer.json").empty());
}

TEST_CASE("a tokenizer.json that is none is refused, an odd template is passed over") {
  CHECK_THROWS_AS(prefix_of("[1"), Error);
  CHECK_THROWS_AS(prefix_of("[]"), Error);
  CHECK(prefix_of(R"({"post_processor": {"single": [3]}})").empty());
  CHECK(prefix_of(R"({"post_processor": {"single": [{"SpecialToken": {"id": 7}}]}})").empty());
  CHECK(prefix_of(R"({"post_processor": {"processors": 3}})").empty());
}
