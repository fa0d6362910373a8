#include <fstream>
#include <nlohmann/json.hpp>
#include <unordered_map>

#include "base/error.hpp"
#include "tokenizer/definition.hpp"
#include "tokenizer/json_parts.hpp"
#include "tokenizer/unicode.hpp"

namespace espalier::tokenizer {
namespace {

using nlohmann::json;

constexpr int kMaxDepth = 100;
constexpr const char* kEndOfText = "<|endoftext|>";

/// Reads one file; every refusal names the file and the field.
class Reader {
 public:
  Reader(const std::filesystem::path& file, std::string_view text) : file_(file) {
    try {
      // The library prints and frees what it has read by recursion.
      root_ = json::parse(text, [this](int depth, json::parse_event_t, json&) {
        if (depth > kMaxDepth) refuse("nested deeper than {} levels", kMaxDepth);
        return true;
      });
    } catch (const json::parse_error& error) {
      refuse("not JSON: {}", error.what());
    }
    // "model" may be a word of a bare vocabulary; its id is no object.
    if (root_.is_object() && root_.contains(kEndOfText) &&
        !root_.value("model", json()).is_object())
      add_merges();
    else
      definition_.is_tokenizer_json = true;
    if (!root_.is_object() || !root_.contains("model") || !root_["model"].is_object())
      refuse("not a tokenizer.json: there is no \"model\"");
    make_alphabet();
  }

  Definition read() {
    const Refuse refuse_part = [this](const std::string& what) { refuse("{}", what); };
    read_normalizer(root_.value("normalizer", json()), definition_, refuse_part);
    if (!read_pre_tokenizer(root_.value("pre_tokenizer", json()), definition_, refuse_part)) {
      definition_.characters.emplace();
      read_decoder(root_.value("decoder", json()), *definition_.characters, refuse_part);
    }
    read_model(root_["model"]);
    read_added(root_.value("added_tokens", json::array()));
    return std::move(definition_);
  }

 private:
  template <class... Args>
  [[noreturn]] void refuse(fmt::format_string<Args...> format, Args&&... args) const {
    fail(ExitStatus::bad_data, "{}: {}", file_.string(),
         fmt::format(format, std::forward<Args>(args)...));
  }
  /// GPT-2's vocabulary as it was published: vocab.json (or encoder.json), which holds
  /// <|endoftext|>, and beside it merges.txt (or vocab.bpe). Other models that come as such a pair
  /// keep their added tokens elsewhere, and their pre-tokeniser: they need a tokenizer.json.
  void add_merges() {
    std::filesystem::path path = file_.parent_path() / "merges.txt";
    if (!std::filesystem::exists(path)) path = file_.parent_path() / "vocab.bpe";
    std::ifstream lines(path);
    if (!lines.good())
      refuse("a vocabulary without merges: there is no merges.txt or vocab.bpe beside it");
    json merges = json::array();
    for (std::string line; std::getline(lines, line);) {
      if (line.ends_with('\r')) line.pop_back();
      if (!line.empty() && !line.starts_with("#version")) merges.push_back(line);
    }
    json vocabulary = std::move(root_);
    const json separator = {
        {"id", vocabulary[kEndOfText]}, {"content", kEndOfText}, {"normalized", true}};
    root_ = {{"model", {{"vocab", std::move(vocabulary)}, {"merges", std::move(merges)}}},
             {"pre_tokenizer", {{"type", "ByteLevel"}, {"add_prefix_space", false}}},
             {"added_tokens", json::array({separator})}};
  }
  /// GPT-2's byte alphabet: printable bytes stand for themselves, the others take the code points
  /// from 256 on, in order.
  void make_alphabet() {
    std::uint32_t next = 256;
    for (std::uint32_t byte = 0; byte < 256; ++byte) {
      const bool is_printable = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) ||
                                (byte >= 174 && byte <= 255);
      byte_of_[is_printable ? byte : next++] = static_cast<char>(byte);
    }
  }
  /// The bytes a symbol stands for; false when it is not of the alphabet.
  bool to_bytes(const std::string& symbol, std::string& bytes) const {
    bytes.clear();
    for (const char* p = symbol.data(); p < symbol.data() + symbol.size();) {
      const CodePoint c = decode_utf8(p);  // valid: the JSON parser has checked it
      const auto found = byte_of_.find(c.value);
      if (found == byte_of_.end()) return false;
      bytes.push_back(found->second);
      p += c.num_bytes;
    }
    return !bytes.empty();
  }

  void read_model(const json& model) {
    // Files written before 2021 name no type; they are BPE when they have merges.
    if (model.contains("type") && model["type"] != "BPE")
      refuse("the model is {}, only BPE is supported", model["type"].dump());
    for (const char* key : {"continuing_subword_prefix", "end_of_word_suffix"}) {
      const json value = model.value(key, json());
      if (!value.is_null() && value != "")
        refuse("model.{} {} is not supported", key, value.dump());
    }
    const json dropout = model.value("dropout", json());
    if (!dropout.is_null() && dropout != 0.0) refuse("model.dropout is not supported");
    definition_.ignore_merges = model.value("ignore_merges", json(false)) == true;

    if (!model.contains("vocab") || !model["vocab"].is_object()) refuse("there is no model.vocab");
    std::string bytes;
    for (const auto& [symbol, id] : model["vocab"].items()) {
      if (!id.is_number_unsigned()) refuse("the id of {} is {}", json(symbol).dump(), id.dump());
      const bool is_bytes = definition_.characters || to_bytes(symbol, bytes);
      if (definition_.characters) bytes = symbol;
      definition_.add_token(file_, id.get<std::uint64_t>(), is_bytes ? bytes : symbol,
                            is_bytes ? Token::Kind::bytes : Token::Kind::literal);
      ids_.emplace(symbol, id.get<std::uint32_t>());
    }
    if (definition_.characters)
      read_characters(model);
    else
      definition_.find_bytes(file_);
    if (!model.contains("merges") || !model["merges"].is_array())
      refuse("there is no model.merges");
    if (model["merges"].size() >= kMaxMerges)
      refuse("model.merges has {} entries, more than are supported ({})", model["merges"].size(),
             kMaxMerges - 1);
    definition_.merges.reserve(model["merges"].size());
    for (const json& merge : model["merges"]) read_merge(merge);
  }

  /// What becomes of characters outside the vocabulary. Without either Hugging Face drops them
  /// silently.
  void read_characters(const json& model) {
    CharacterAlphabet& characters = *definition_.characters;
    characters.has_byte_fallback = member(model, "byte_fallback", false);
    characters.fuses_unknown = member(model, "fuse_unk", false);
    if (const auto name = member<std::string>(model, "unk_token", ""); !name.empty()) {
      const auto found = ids_.find(name);
      if (found == ids_.end())
        refuse("model.unk_token {} is not in the vocabulary", json(name).dump());
      characters.unknown = found->second;
    }
    if (characters.unknown) return;
    if (!characters.has_byte_fallback)
      refuse(
          "a vocabulary of characters without byte_fallback and unk_token is not supported: "
          "characters outside it would be lost (the pre_tokenizer has no ByteLevel)");
    for (int byte = 0; byte < 256; ++byte)
      if (const auto token = fmt::format("<0x{:02X}>", byte); !ids_.contains(token))
        refuse("model.byte_fallback without unk_token, and the vocabulary has no {}", token);
  }

  /// "left right", or ["left", "right"] since tokenizers 0.20.
  void read_merge(const json& merge) {
    std::string left, right;
    if (merge.is_string()) {
      const auto& text = merge.get_ref<const std::string&>();
      const std::size_t space = text.find(' ');
      if (space != text.npos) {
        left = text.substr(0, space);
        right = text.substr(space + 1);
      }
    } else if (merge.is_array() && merge.size() == 2 && merge[0].is_string() &&
               merge[1].is_string()) {
      left = merge[0].get<std::string>();
      right = merge[1].get<std::string>();
    }
    if (left.empty() || right.empty()) refuse("model.merges holds {}, not a pair", merge.dump());
    const auto id_of = [&](const std::string& symbol) {
      const auto found = ids_.find(symbol);
      if (found == ids_.end())
        refuse("the merge {} needs {}, which is not in the vocabulary", merge.dump(),
               json(symbol).dump());
      return found->second;
    };
    definition_.merges.push_back({id_of(left), id_of(right), id_of(left + right)});
  }

  void read_added(const json& added) {
    if (!added.is_array()) refuse("added_tokens is not a list");
    for (const json& entry : added) {
      if (!entry.is_object() || !entry.value("content", json()).is_string() ||
          !entry.value("id", json()).is_number_unsigned())
        refuse("added_tokens holds {}", entry.dump());
      const auto flag = [&entry](const char* key) { return member(entry, key, false); };
      AddedToken token{.content = entry["content"].get<std::string>(),
                       .normalized = flag("normalized"),
                       .special = flag("special"),
                       .single_word = flag("single_word"),
                       .lstrip = flag("lstrip"),
                       .rstrip = flag("rstrip")};
      const auto id = entry["id"].get<std::uint64_t>();
      const std::string name = json(token.content).dump();
      if (token.content.empty()) refuse("an added token is empty");
      const auto known = ids_.find(token.content);
      if (known != ids_.end() && known->second != id)
        refuse("added token {} has id {}, but {} in the vocabulary", name, id, known->second);
      if (known == ids_.end()) {
        // Only to find ids used twice: the token itself is not of the vocabulary.
        definition_.add_token(file_, id, token.content, Token::Kind::literal);
        ids_.emplace(token.content, static_cast<std::uint32_t>(id));
      }
      token.id = static_cast<std::uint32_t>(id);
      definition_.added.push_back(std::move(token));
    }
  }

  std::filesystem::path file_;
  json root_;
  Definition definition_;
  std::unordered_map<std::uint32_t, char> byte_of_;
  std::unordered_map<std::string, std::uint32_t> ids_;
};

}  // namespace

Definition read_tokenizer_json(const std::filesystem::path& file, std::string_view text) {
  try {
    return Reader(file, text).read();
  } catch (const nlohmann::json::exception& error) {
    // A field of a type that no check above foresaw.
    fail(ExitStatus::bad_data, "{}: not a tokenizer.json: {}", file.string(), error.what());
  }
}

}  // namespace espalier::tokenizer
