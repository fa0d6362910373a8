#include <catch2/catch.hpp>
#include <filesystem>

#include "tokenization/text_documents.hpp"

using namespace espalier;
using tokenization::EncodedText;

namespace {

const tokenizer::Tokenizer& bytes() {
  static const auto tokenizer = tokenizer::Tokenizer::from_file(
      std::filesystem::path(ESPALIER_SOURCE_DIR) / "inputs" / "tests" / "bytes.tiktoken");
  return tokenizer;
}

constexpr std::uint32_t kBegin = 254, kSeparator = 255;
const train::DocumentMarks kMarks{.begin = {kBegin}, .separator = kSeparator};

}  // namespace

TEST_CASE("documents become one row, with what stands around them, and their texts are counted") {
  const EncodedText text =
      tokenization::encode_documents({"ab", "", "c"}, bytes(), kMarks, [] { return true; });
  const std::uint32_t a = bytes().encode("a")[0], b = bytes().encode("b")[0],
                      c = bytes().encode("c")[0];
  CHECK(text.ids ==
        std::vector<std::uint32_t>{kBegin, a, b, kSeparator, kBegin, kSeparator, kBegin, c});
  CHECK(text.num_documents == 3);
  CHECK(text.num_text_bytes == 3);
  CHECK(text.num_text_ids == 3);
}

TEST_CASE("who tokenizes a text asks between its documents whether to go on, and stops at a no") {
  const std::vector<std::string> documents(10,
                                           std::string(tokenization::kBytesBetweenQuestions, 'a'));
  for (const int last : {1, 4, 100}) {
    int questions = 0;
    const EncodedText text = tokenization::encode_documents(documents, bytes(), kMarks,
                                                            [&] { return ++questions != last; });
    CHECK(questions == std::min(last, 10));
    CHECK(text.num_documents == static_cast<std::size_t>(last == 100 ? 10 : last - 1));
    CHECK(text.num_text_bytes == text.num_documents * tokenization::kBytesBetweenQuestions);
  }
  // Small ones are not worth a question each, which the ranks answer together.
  int questions = 0;
  tokenization::encode_documents(std::vector<std::string>(1000, "a"), bytes(), kMarks, [&] {
    ++questions;
    return true;
  });
  CHECK(questions == 1);
}
