#include <catch2/catch.hpp>
#include <sstream>
#include <thread>
#include <vector>

#include "base/error.hpp"
#include "support/scratch_folder.hpp"
#include "tokenizer/tokenizer.hpp"

using Catch::Matchers::Contains;
using espalier::Error;
using espalier::ExitStatus;
using espalier::testing::ScratchFolder;
using espalier::tokenizer::Tokenizer;
using Ids = std::vector<std::uint32_t>;

namespace {

const std::filesystem::path kFixtures =
    std::filesystem::path(ESPALIER_SOURCE_DIR) / "tests" / "fixtures" / "tokenizer";

struct Case {
  std::string text;
  Ids ids;
};

/// Texts and the ids that Hugging Face's tokenizers gives them (make_fixtures.py).
std::vector<Case> read_cases(const std::string& name) {
  std::vector<Case> cases;
  std::istringstream lines(espalier::testing::read_file(kFixtures / (name + ".cases")));
  for (std::string line; std::getline(lines, line);) {
    std::istringstream words(line);
    std::string hex;
    words >> hex;
    Case one;
    for (std::size_t i = 0; hex != "-" && i + 1 < hex.size(); i += 2)
      one.text.push_back(static_cast<char>(std::stoi(hex.substr(i, 2), nullptr, 16)));
    for (std::uint32_t id = 0; words >> id;) one.ids.push_back(id);
    cases.push_back(std::move(one));
  }
  return cases;
}

}  // namespace

TEST_CASE("Ids are Hugging Face's", "[tokenizer]") {
  const std::string name = GENERATE("qwen", "gpt2", "llama3");
  const Tokenizer tokenizer = Tokenizer::from_file(kFixtures / (name + ".json"));
  for (const std::string& file : {name, name + "_adversarial"}) {
    const auto cases = read_cases(file);
    REQUIRE(cases.size() > 350);
    for (std::size_t i = 0; i < cases.size(); ++i) {
      INFO(file << ".cases line " << i + 1);
      CHECK(tokenizer.encode(cases[i].text) == cases[i].ids);
    }
  }
}

TEST_CASE("A warm cache of words gives the same ids", "[tokenizer]") {
  const std::string name = GENERATE("qwen", "gpt2", "llama3");
  const Tokenizer tokenizer = Tokenizer::from_file(kFixtures / (name + ".json"));
  const auto scratch = tokenizer.make_scratch();
  const auto cases = read_cases(name);
  for (int pass = 0; pass < 3; ++pass)
    for (const Case& one : cases) {
      Ids ids{7};
      tokenizer.encode(one.text, ids, *scratch);
      REQUIRE(ids.front() == 7);  // what was there stays
      ids.erase(ids.begin());
      REQUIRE(ids == one.ids);
    }
}

TEST_CASE("The cache forgets in time", "[tokenizer]") {
  // More pieces, and longer ones, than it holds: memory is bounded and old entries are replaced.
  const Tokenizer tokenizer = Tokenizer::from_file(kFixtures / "qwen.json");
  const auto scratch = tokenizer.make_scratch();
  const std::string alphabet = "etaoinshrdlucmfw";
  for (std::uint32_t i = 0; i < 200'000; ++i) {
    std::string word;
    for (std::uint32_t bits = i * 2654435761u, n = 0; n < 6 + i % 30; ++n)
      word += alphabet[(bits >> (n % 8 * 4)) & 15];
    Ids ids;
    tokenizer.encode(word, ids, *scratch);
    if (i % 97 == 0) REQUIRE(ids == tokenizer.encode(word));
    REQUIRE(tokenizer.decode(ids) == word);
  }
}

TEST_CASE("Threads with their own scratch agree", "[tokenizer]") {
  const Tokenizer tokenizer = Tokenizer::from_file(kFixtures / "qwen.json");
  const auto cases = read_cases("qwen");
  std::vector<int> num_wrong(4);
  std::vector<std::thread> threads;
  for (int& wrong : num_wrong)
    threads.emplace_back([&] {
      const auto scratch = tokenizer.make_scratch();
      for (const Case& one : cases) {
        Ids ids;
        tokenizer.encode(one.text, ids, *scratch);
        wrong += ids != one.ids;
      }
    });
  for (auto& thread : threads) thread.join();
  CHECK(num_wrong == std::vector<int>(4));
}

TEST_CASE("Decoding gives the bytes back", "[tokenizer]") {
  const Tokenizer tokenizer = Tokenizer::from_file(kFixtures / "gpt2.json");
  for (const std::string text :
       {"", "Hello,  world!\r\n", "na\xC3\xAFve <|endoftext|> \xF0\x9F\x91\xA9"})
    CHECK(tokenizer.decode(tokenizer.encode(text)) == text);
  std::string all;
  for (int c = 0; c < 128; ++c) all.push_back(static_cast<char>(c));
  CHECK(tokenizer.decode(tokenizer.encode(all)) == all);
  const Ids unknown{tokenizer.size()};
  CHECK(tokenizer.decode(unknown).empty());  // padding of an embedding has no text
  CHECK_FALSE(tokenizer.has_token(unknown[0]));
}

TEST_CASE("A megabyte without a space takes no quadratic time", "[tokenizer]") {
  const Tokenizer tokenizer = Tokenizer::from_file(kFixtures / "qwen.json");
  std::string text(1'000'000, 'a');
  CHECK(tokenizer.decode(tokenizer.encode(text)) == text);
  for (std::size_t i = 0; i < text.size(); ++i)
    text[i] = static_cast<char>('a' + i * i % 26 * (i / 7) % 26);
  CHECK(tokenizer.decode(tokenizer.encode(text)) == text);
}

TEST_CASE("A .tiktoken file is the same tokenizer", "[tokenizer]") {
  const Tokenizer json = Tokenizer::from_file(kFixtures / "qwen.json");
  const Tokenizer tiktoken = Tokenizer::from_file(kFixtures / "qwen.tiktoken");
  CHECK(tiktoken.size() == 1001);
  CHECK(tiktoken.token_id("<|endoftext|>") == 1000u);
  CHECK(tiktoken.token_id("<|im_end|>") == std::nullopt);
  for (const Case& one : read_cases("qwen"))
    if (one.text.find("<|im") == one.text.npos && one.text.find("<think>") == one.text.npos &&
        one.text.find("<\xC3\xA9>") == one.text.npos &&
        one.text.find("<e\xCC\x81>") == one.text.npos)
      REQUIRE(tiktoken.encode(one.text) == one.ids);
}

TEST_CASE("GPT-2's vocab.json with merges.txt is the same tokenizer", "[tokenizer]") {
  // The fixture's tokenizer.json taken apart, as GPT-2 was published.
  const std::string text = espalier::testing::read_file(kFixtures / "gpt2.json");
  const std::string vocab_key = "\"vocab\":", merges_key = ",\"merges\":[[";
  const std::size_t vocab = text.find(vocab_key), merges = text.find(merges_key);
  REQUIRE(vocab != text.npos);
  REQUIRE(merges != text.npos);
  std::string vocabulary = text.substr(vocab + vocab_key.size(), merges - vocab - vocab_key.size());
  vocabulary.insert(vocabulary.rfind('}'), ",\"<|endoftext|>\":1000");
  std::string pairs = "#version: 0.2\n";
  std::string list =
      text.substr(merges + merges_key.size(), text.rfind("]]") - merges - merges_key.size());
  // left","right"],["left","right -> lines; a quote or backslash in a symbol is written escaped.
  for (std::size_t i = 1; i + 1 < list.size(); ++i) {
    if (list.compare(i, 3, "\",\"") == 0) {
      pairs += ' ';
      i += 2;
    } else if (list.compare(i, 5, "\"],[\"") == 0) {
      pairs += '\n';
      i += 4;
    } else if (list[i] == '\\') {
      pairs += list[++i];
    } else {
      pairs += list[i];
    }
  }
  const ScratchFolder folder;
  espalier::testing::write_file(folder / "vocab.json", vocabulary);
  CHECK_THROWS_WITH(Tokenizer::from_file(folder / "vocab.json"), Contains("merges.txt"));
  espalier::testing::write_file(folder / "merges.txt", pairs + "\n");
  const Tokenizer tokenizer = Tokenizer::from_file(folder / "vocab.json");
  CHECK(tokenizer.end_of_text() == 1000);
  for (const Case& one : read_cases("gpt2")) REQUIRE(tokenizer.encode(one.text) == one.ids);
}

TEST_CASE("A file of Llama-3's 128,000 ranks is Llama-3's", "[tokenizer]") {
  // The bytes, and then tokens that no merge leads to.
  const std::string digits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  const auto line_of = [&](std::uint32_t value, int num_bytes, std::uint32_t rank) {
    std::string line;
    value <<= 8 * (3 - num_bytes);
    for (int i = 0; i <= num_bytes; ++i) line += digits[(value >> (18 - 6 * i)) & 63];
    return line + " " + std::to_string(rank) + "\n";
  };
  std::string lines;
  for (std::uint32_t rank = 0; rank < 128'000; ++rank)
    lines += rank < 256 ? line_of(rank, 1, rank) : line_of(rank * 64 % (1u << 24), 3, rank);
  const ScratchFolder folder;
  espalier::testing::write_file(folder / "tokenizer.model", lines);
  const Tokenizer tokenizer = Tokenizer::from_file(folder / "tokenizer.model");
  CHECK(tokenizer.size() == 128'256);
  CHECK(tokenizer.token_id("<|begin_of_text|>") == 128'000u);
  CHECK(tokenizer.token_id("<|eot_id|>") == 128'009u);
  CHECK(tokenizer.token_id("<|reserved_special_token_245|>") == 128'255u);
  CHECK(tokenizer.end_of_text() == 128'001);
  CHECK(tokenizer.encode("e\xCC\x81").size() == 3);  // no NFC
}

TEST_CASE("The identity follows what decides about ids, not the format", "[tokenizer]") {
  const ScratchFolder folder;
  std::string text = espalier::testing::read_file(kFixtures / "qwen.json");
  const std::string identity = Tokenizer::from_file(kFixtures / "qwen.json").identity();
  CHECK(identity.size() == 16);
  const auto identity_of = [&](const std::string& from, const std::string& to) {
    std::string changed = text;
    const std::size_t at = changed.find(from);
    REQUIRE(at != changed.npos);
    changed.replace(at, from.size(), to);
    espalier::testing::write_file(folder / "tokenizer.json", changed);
    return Tokenizer::from_file(folder / "tokenizer.json").identity();
  };
  CHECK(identity_of("{", "{ ") == identity);
  CHECK(identity_of("\"ignore_merges\":false", "\"ignore_merges\":true") == identity);
  CHECK(identity_of("<think>", "<thonk>") != identity);
  CHECK(identity_of("{\"type\":\"NFC\"}", "null") != identity);
  CHECK(identity_of("\\\\p{N}| ?", "\\\\p{N}{1,3}| ?") != identity);

  // With the one added token that a .tiktoken file has, both formats are one tokenizer.
  const std::size_t begin = text.find("\"added_tokens\":["), end = text.find(']', begin);
  text.replace(begin, end - begin,
               R"("added_tokens":[{"id":1000,"content":"<|endoftext|>","special":true})");
  espalier::testing::write_file(folder / "one.json", text);
  CHECK(Tokenizer::from_file(folder / "one.json").identity() ==
        Tokenizer::from_file(kFixtures / "qwen.tiktoken").identity());
}

TEST_CASE("The document separator is the first of the known names", "[tokenizer]") {
  const Tokenizer qwen = Tokenizer::from_file(kFixtures / "qwen.json");
  CHECK(qwen.end_of_text() == qwen.token_id("<|endoftext|>"));
  const Tokenizer llama3 = Tokenizer::from_file(kFixtures / "llama3.json");
  CHECK(llama3.end_of_text() == llama3.token_id("<|end_of_text|>"));
  const ScratchFolder folder;
  std::string text = espalier::testing::read_file(kFixtures / "gpt2.json");
  text.replace(text.find("<|endoftext|>"), 13, "<|something|>");
  espalier::testing::write_file(folder / "none.json", text);
  CHECK_THROWS_WITH(Tokenizer::from_file(folder / "none.json").end_of_text(),
                    Contains("none.json") && Contains("separate documents"));
}

TEST_CASE("What is not supported is refused by name", "[tokenizer]") {
  struct Change {
    std::string from, to, message;
  };
  const std::vector<Change> changes = {
      {"{\"version\"", "{version", "not JSON"},
      {"\"model\":", "\"modell\":", "there is no \"model\""},
      {"\"type\":\"BPE\"", "\"type\":\"Unigram\"", "\"Unigram\""},
      {"\"dropout\":null", "\"dropout\":0.1", "model.dropout"},
      {"\"end_of_word_suffix\":null", "\"end_of_word_suffix\":\"</w>\"", "end_of_word_suffix"},
      {"\"type\":\"NFC\"", "\"type\":\"NFKC\"", "\"NFKC\""},
      {"\\\\p{N}| ?", "\\\\bN| ?", "expression is not supported"},
      {"\"behavior\":\"Isolated\"", "\"behavior\":\"Sideways\"", "Sideways"},
      {"\"add_prefix_space\":false", "\"add_prefix_space\":true", "add_prefix_space"},
      {"\"type\":\"ByteLevel\",\"add", "\"type\":\"Whitespace\",\"add", "\"Whitespace\""},
      {"\"id\":1001", "\"id\":1000", "belongs to two tokens"},
      {"\"id\":1001", "\"id\":4000000000", "too large"},
      {"\"id\":1001", "\"id\":1048575", "too large"},
      {"\"id\":1001", "\"id\":-1", "added_tokens holds"},
      {"\"!\":0", "\"!\":5", "belongs to two tokens"},
      {"\"!\":0,", "", "no token for the byte 0x21"},
      {"\"!\":0", "\"!\":\"0\"", "the id of"},
      {"\"merges\":[", "\"merges\":[[\"e\",\"\\u0001\"],", "not in the vocabulary"},
      {"\"merges\":[", "\"merges\":[[\"e\"],", "not a pair"},
      {"\"merges\":[", "\"merges\":[7,", "not a pair"},
      {"\"merges\":[", "\"mergez\":[", "no model.merges"},
      {"\"vocab\":{", "\"vocap\":{", "no model.vocab"},
  };
  const std::string text = espalier::testing::read_file(kFixtures / "qwen.json");
  const ScratchFolder folder;
  const auto path = folder / "tokenizer.json";
  for (const Change& change : changes) {
    INFO(change.from << " -> " << change.to);
    std::string changed = text;
    const std::size_t at = changed.find(change.from);
    REQUIRE(at != changed.npos);
    changed.replace(at, change.from.size(), change.to);
    espalier::testing::write_file(path, changed);
    try {
      Tokenizer::from_file(path);
      FAIL_CHECK("accepted");
    } catch (const Error& error) {
      CHECK(error.status() == ExitStatus::bad_data);
      CHECK_THAT(error.what(), Contains(path.string()) && Contains(change.message));
    }
  }
}

TEST_CASE("A file that is no tokenizer is an error that names it", "[tokenizer]") {
  const ScratchFolder folder;
  CHECK_THROWS_WITH(Tokenizer::from_file(folder / "absent.json"),
                    Contains("absent.json") && Contains("data.tokenizer"));
  CHECK_THROWS_WITH(Tokenizer::from_file(folder.path()), Contains("it is a folder"));
  const auto refused = [&](const std::string& bytes, const char* message) {
    espalier::testing::write_file(folder / "bad.tiktoken", bytes);
    CHECK_THROWS_WITH(Tokenizer::from_file(folder / "bad.tiktoken"), Contains(message));
  };
  refused("", "the file is empty");
  refused("IQ==\n", "bad.tiktoken:1: not a line");
  refused("IQ== 0\nI!== 1\n", "bad.tiktoken:2: not a line");
  refused("IQ== 0\nIg== x\n", "bad.tiktoken:2: not a line");
  refused("IQ== 0\nIg== 0\n", "belongs to two tokens");
  refused("IQ== 0\n", "no token for the byte 0x00");
  refused("IQ== 999999999\n", "too large");
}

TEST_CASE("A tokenizer.json nested too deep is refused, not a crash", "[tokenizer]") {
  const espalier::testing::ScratchFolder folder;
  espalier::testing::write_file(
      folder / "tokenizer.json",
      R"({"model": {"type": )" + std::string(300'000, '[') + std::string(300'000, ']') + "}}");
  CHECK_THROWS_AS(Tokenizer::from_file(folder / "tokenizer.json"), Error);
}

TEST_CASE("The English tokenizer of the inputs can be used", "[tokenizer]") {
  const Tokenizer tokenizer = Tokenizer::from_file(std::filesystem::path(ESPALIER_SOURCE_DIR) /
                                                   "inputs/tokenizers/english-8k/tokenizer.json");
  CHECK(tokenizer.size() == 8192);
  CHECK(tokenizer.end_of_text() == 8191);
  CHECK(tokenizer.encode(" the").size() == 1);
}
