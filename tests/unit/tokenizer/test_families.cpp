// Tokenizers of other families than Qwen, Llama-3 and GPT-2 (tests/fixtures/tokenizer/families.py).
#include <catch2/catch.hpp>
#include <sstream>
#include <vector>

#include "base/error.hpp"
#include "support/scratch_folder.hpp"
#include "tokenizer/tokenizer.hpp"

using Catch::Matchers::Contains;
using espalier::Error;
using espalier::ExitStatus;
using espalier::testing::read_file;
using espalier::testing::ScratchFolder;
using espalier::tokenizer::TextPlace;
using espalier::tokenizer::Tokenizer;
using Ids = std::vector<std::uint32_t>;

namespace {

const std::filesystem::path kFolder =
    std::filesystem::path(ESPALIER_SOURCE_DIR) / "tests" / "fixtures" / "tokenizer" / "families";
const std::vector<std::string> kOfBytes = {
    "smollm", "deepseek-llm", "deepseek-coder", "deepseek-v3", "gpt-4o", "olmo",
    "olmo-2", "phi-2",        "phi-4",          "flags",       "splits"};
const std::vector<std::string> kOfCharacters = {"llama-2", "phi-3", "llama-2_without_legacy",
                                                "metaspace", "gemma"};

/// tokenizer.json of a family: what is its own, and a vocabulary that several share.
std::string text_of(const std::string& family) {
  const bool is_of_bytes = std::find(kOfBytes.begin(), kOfBytes.end(), family) != kOfBytes.end();
  std::string text = read_file(kFolder / (family + ".json"));
  text.pop_back();
  return text +
         ",\"model\":" + read_file(kFolder / (is_of_bytes ? "bytes.model" : "characters.model")) +
         "}";
}

Tokenizer tokenizer_of(const std::string& text) {
  const ScratchFolder folder;
  espalier::testing::write_file(folder / "tokenizer.json", text);
  return Tokenizer::from_file(folder / "tokenizer.json");
}

std::string refusal_of(const std::string& text) {
  try {
    tokenizer_of(text);
  } catch (const Error& error) {
    CHECK(error.status() == ExitStatus::bad_data);
    CHECK_THAT(error.what(), Contains("tokenizer.json: "));
    return error.what();
  }
  return "accepted";
}

std::string changed(std::string text, const std::string& from, const std::string& to) {
  const std::size_t at = text.find(from);
  INFO(from);
  REQUIRE(at != text.npos);
  return text.replace(at, from.size(), to);
}

std::string from_hex(const std::string& hex) {
  std::string text;
  for (std::size_t i = 0; hex != "-" && i + 1 < hex.size(); i += 2)
    text.push_back(static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16)));
  return text;
}

struct Case {
  std::string text, decoded;
  Ids ids;
};

std::vector<Case> cases_of(const std::string& family) {
  std::vector<Case> cases;
  std::istringstream lines(read_file(kFolder / (family + ".cases")));
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string text, decoded;
    words >> text >> decoded;
    Case one{from_hex(text), from_hex(decoded), {}};
    for (std::uint32_t id = 0; words >> id;) one.ids.push_back(id);
    cases.push_back(std::move(one));
  }
  REQUIRE(cases.size() > 100);
  return cases;
}

void check_ids(const std::string& family) {
  const Tokenizer tokenizer = tokenizer_of(text_of(family));
  const auto scratch = tokenizer.make_scratch();
  const auto cases = cases_of(family);
  for (int pass = 0; pass < 2; ++pass)  // the second with a warm cache of words
    for (std::size_t i = 0; i < cases.size(); ++i) {
      INFO(family << ".cases line " << i + 1 << ": " << cases[i].text);
      Ids ids;
      tokenizer.encode(cases[i].text, ids, *scratch);
      CHECK(ids == cases[i].ids);
    }
}

/// A vocabulary of a few characters: <unk>, a mark, letters, and what `more` names.
std::string of_characters(const std::string& more, const std::string& flags) {
  return R"({"added_tokens": [], "normalizer": null, "pre_tokenizer": null,
    "decoder": {"type": "Fuse"}, "model": {"type": "BPE", )" +
         flags + R"(, "vocab": {"<unk>": 0, "a": 1, "b": 2, "ab": 3)" + more +
         R"(}, "merges": [["a", "b"]]}})";
}

}  // namespace

TEST_CASE("ids of byte-level families are Hugging Face's", "[families]") {
  check_ids(GENERATE(from_range(kOfBytes)));
}

TEST_CASE("ids and texts of families with a vocabulary of characters are Hugging Face's",
          "[families]") {
  const std::string family = GENERATE(from_range(kOfCharacters));
  check_ids(family);
  const Tokenizer tokenizer = tokenizer_of(text_of(family));
  for (const Case& one : cases_of(family)) {
    INFO(family << ": " << one.text);
    CHECK(tokenizer.decode(one.ids) == one.decoded);
  }
}

TEST_CASE("what continues a text keeps its blank", "[families]") {
  const Tokenizer tokenizer = tokenizer_of(text_of("llama-2"));
  const Ids ids = tokenizer.encode("the end");
  CHECK(tokenizer.decode(ids) == "the end");
  CHECK(tokenizer.decode(ids, TextPlace::continued) == " the end");
  std::string text;
  for (std::size_t i = 0; i < ids.size(); ++i)
    text += tokenizer.decode({&ids[i], 1}, i == 0 ? TextPlace::whole : TextPlace::continued);
  CHECK(text == "the end");
  // A byte at a time, as generation gives them.
  const Ids snowman = tokenizer.encode("x\xE2\x98\x83");
  REQUIRE(snowman.size() == 4);
  CHECK(tokenizer.decode({&snowman[1], 1}, TextPlace::continued) == "\xE2");
  CHECK(tokenizer.decode(Ids{tokenizer.size()}).empty());  // a row that pads the embedding
}

TEST_CASE("a word goes on over the ends of added tokens of single words", "[families]") {
  std::string text = of_characters("", R"("unk_token": "<unk>")");
  text = changed(text, "\"added_tokens\": []",
                 R"("added_tokens": [{"id": 9, "content": "word", "single_word": true}])");
  const Tokenizer tokenizer = tokenizer_of(text);
  const auto has_word = [&](const std::string& around) {
    const Ids ids = tokenizer.encode(around);
    return std::find(ids.begin(), ids.end(), 9u) != ids.end();
  };
  // Between letters, digits, marks, joiners, letters in circles and new scripts there is no end.
  for (const std::string inside : {"x", "7", "_", "\xCC\x81", "\xE2\x80\x8D", "\xE2\x92\xB6",
                                   "\xE4\xB8\xAD", "\xE2\x85\xA7", "\xF0\x90\x97\x80"}) {
    INFO(inside);
    CHECK_FALSE(has_word("word" + inside));
    CHECK_FALSE(has_word(inside + "word"));
  }
  for (const std::string outside :
       {"", " ", "-", "\n", ".", "\xC2\xBD", "\xF0\x9F\x98\x80", "\xE2\x96\x81"}) {
    INFO(outside);
    CHECK(has_word("word" + outside));
    CHECK(has_word(outside + "word"));
  }
}

TEST_CASE("characters outside the vocabulary become one unknown token, several, or bytes",
          "[families]") {
  const std::string unknown = R"("unk_token": "<unk>")";
  const Tokenizer each = tokenizer_of(of_characters("", unknown));
  CHECK(each.encode("abxyab") == Ids{3, 0, 0, 3});
  const Tokenizer fused = tokenizer_of(of_characters("", unknown + R"(, "fuse_unk": true)"));
  CHECK(fused.encode("abxyaxb") == Ids{3, 0, 1, 0, 2});
  // Some bytes have a token: characters all of whose bytes have one take it, before those that
  // wait, as in Hugging Face's loop.
  const Tokenizer some = tokenizer_of(
      of_characters(R"(, "<0x78>": 4)", unknown + R"(, "fuse_unk": true, "byte_fallback": true)"));
  CHECK(some.encode("ax") == Ids{1, 4});
  CHECK(some.encode("yxa") == Ids{4, 0, 1});
}

TEST_CASE("a vocabulary of characters that would lose some is refused", "[families]") {
  CHECK_THAT(refusal_of(of_characters("", R"("unk_token": null)")),
             Contains("would be lost") && Contains("byte_fallback"));
  CHECK_THAT(refusal_of(of_characters("", R"("byte_fallback": true)")), Contains("<0x00>"));
  CHECK_THAT(refusal_of(of_characters("", R"("unk_token": "<none>")")), Contains("<none>"));
}

TEST_CASE("what families have beyond the supported is refused by name", "[families]") {
  const std::string llama = text_of("llama-2");
  for (const std::string type : {"Lowercase", "Strip", "NFKC", "Precompiled", "ByteLevel"})
    CHECK_THAT(refusal_of(changed(llama, "\"type\":\"Prepend\"", "\"type\":\"" + type + "\"")),
               Contains("the normalizer \"" + type + "\""));
  CHECK_THAT(refusal_of(changed(llama, R"({"String":" "})", R"({"String":""})")),
             Contains("empty pattern"));
  CHECK_THAT(refusal_of(changed(llama, R"({"String":" "})", R"({"Regex":"\\b"})")),
             Contains("Replace") && Contains("\\b"));
  CHECK_THAT(refusal_of(changed(llama, "\"type\":\"Fuse\"", "\"type\":\"WordPiece\"")),
             Contains("the decoder \"WordPiece\""));
  CHECK_THAT(refusal_of(changed(llama, "\"type\":\"ByteFallback\"", "\"type\":\"Fuse\"")),
             Contains("accepted"));
  CHECK_THAT(refusal_of(changed(llama, "{\"type\":\"ByteFallback\"},{\"type\":\"Fuse\"}",
                                "{\"type\":\"Fuse\"},{\"type\":\"ByteFallback\"}")),
             Contains("decoder") && Contains("ByteFallback"));
  CHECK_THAT(refusal_of(changed(llama, "\"stop\":0", "\"stop\":1")), Contains("Strip"));

  const std::string smollm = text_of("smollm");
  for (const std::string type : {"Whitespace", "WhitespaceSplit", "Punctuation", "UnicodeScripts",
                                 "BertPreTokenizer", "CharDelimiterSplit"})
    CHECK_THAT(refusal_of(changed(smollm, "\"type\":\"Digits\"", "\"type\":\"" + type + "\"")),
               Contains("the pre_tokenizer \"" + type + "\""));
  CHECK_THAT(refusal_of(changed(smollm, R"({"type":"Digits","individual_digits":true},)",
                                R"({"type":"ByteLevel"},{"type":"Digits"},)")),
             Contains("after ByteLevel"));
  CHECK_THAT(refusal_of(changed(smollm, "\"add_prefix_space\":false", "\"add_prefix_space\":true")),
             Contains("add_prefix_space"));
  const std::string splits = text_of("splits");
  CHECK_THAT(refusal_of(changed(splits, "MergedWithNext", "MergedWithBoth")),
             Contains("MergedWithBoth"));
  CHECK_THAT(refusal_of(changed(splits, "[.;]+", "(?<a>x)")),
             Contains("(?<a>x)") && Contains("expression is not supported"));
}

TEST_CASE("each part that decides about ids changes the identity", "[families]") {
  const auto differs = [](const std::string& family, const std::string& from,
                          const std::string& to) {
    const std::string text = text_of(family);
    INFO(family << ": " << from << " -> " << to);
    CHECK(tokenizer_of(text).identity() != tokenizer_of(changed(text, from, to)).identity());
  };
  differs("smollm", "\"individual_digits\":true", "\"individual_digits\":false");
  differs("deepseek-v3", "{1,3}", "{1,4}");
  differs("splits", "MergedWithNext", "MergedWithPrevious");
  differs("splits", "\"invert\":true", "\"invert\":false");
  differs("splits", "\"content\":\"\\t\"", "\"content\":\" \"");
  differs("llama-2", "\"prepend\":\"\xE2\x96\x81\"", "\"prepend\":\"_\"");
  differs("llama-2", "\"fuse_unk\":true", "\"fuse_unk\":false");
  differs("llama-2_without_legacy", "\"first\"", "\"never\"");
  differs("phi-4", "\"lstrip\":true", "\"lstrip\":false");
  differs("phi-4", "\"rstrip\":true", "\"rstrip\":false");
  differs("flags", "\"single_word\":true", "\"single_word\":false");
  // The decoder does not decide about ids.
  const std::string llama = text_of("llama-2");
  CHECK(tokenizer_of(llama).identity() ==
        tokenizer_of(changed(llama, "\"start\":1", "\"start\":0")).identity());
}

TEST_CASE("a document without an end takes no quadratic time in any family", "[families]") {
  for (const std::string family : {"smollm", "deepseek-llm", "deepseek-v3", "gpt-4o", "llama-2"}) {
    const Tokenizer tokenizer = tokenizer_of(text_of(family));
    for (const std::string part :
         {"a", "A", " ", "\r\n", "7", "!", "\xE2\x96\x81", "\xE4\xB8\xAD"}) {
      std::string text;
      while (text.size() < 200'000) text += part;
      INFO(family << " " << part);
      CHECK(tokenizer.decode(tokenizer.encode(text)).size() > 60'000);
    }
  }
}
