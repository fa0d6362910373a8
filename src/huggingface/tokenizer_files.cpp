#include "huggingface/tokenizer_files.hpp"

#include <array>
#include <nlohmann/json.hpp>

namespace espalier::huggingface {
namespace {

using nlohmann::ordered_json;

/// UTF-8 of the code point that stands for each byte.
std::array<std::string, 256> make_alphabet() {
  std::array<std::string, 256> alphabet;
  unsigned next = 256;
  for (unsigned byte = 0; byte < 256; ++byte) {
    const bool is_printable =
        (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || (byte >= 174 && byte <= 255);
    const unsigned point = is_printable ? byte : next++;
    if (point < 0x80)
      alphabet[byte] = {static_cast<char>(point)};
    else
      alphabet[byte] = {static_cast<char>(0xC0 | (point >> 6)),
                        static_cast<char>(0x80 | (point & 0x3F))};
  }
  return alphabet;
}

ordered_json byte_level() {
  return {{"type", "ByteLevel"},
          {"add_prefix_space", false},
          {"trim_offsets", false},
          {"use_regex", false}};
}

/// TemplateProcessing that puts tokenizer.begin before a text, and before each of a pair.
ordered_json begin_template(const TokenizerJson& tokenizer) {
  ordered_json special = ordered_json::object(), single = ordered_json::array(),
               pair = ordered_json::array();
  for (const int part : {0, 1}) {
    for (const auto& [content, id] : tokenizer.begin) {
      special[content] = {{"id", content},
                          {"ids", ordered_json::array({id})},
                          {"tokens", ordered_json::array({content})}};
      pair.push_back({{"SpecialToken", {{"id", content}, {"type_id", part}}}});
    }
    pair.push_back({{"Sequence", {{"id", part == 0 ? "A" : "B"}, {"type_id", part}}}});
    if (part == 0) single = pair;
  }
  return {{"type", "TemplateProcessing"},
          {"single", single},
          {"pair", pair},
          {"special_tokens", special}};
}

}  // namespace

std::string to_byte_alphabet(const std::string& bytes) {
  static const std::array<std::string, 256> alphabet = make_alphabet();
  std::string text;
  for (const char byte : bytes) text += alphabet[static_cast<unsigned char>(byte)];
  return text;
}

std::string write_tokenizer_json(const TokenizerJson& tokenizer) {
  ordered_json root;
  root["version"] = "1.0";
  root["truncation"] = nullptr;
  root["padding"] = nullptr;
  root["added_tokens"] = ordered_json::array();
  for (const auto& [content, id, normalized] : tokenizer.special)
    root["added_tokens"].push_back({{"id", id},
                                    {"content", content},
                                    {"single_word", false},
                                    {"lstrip", false},
                                    {"rstrip", false},
                                    {"normalized", normalized},
                                    {"special", true}});
  root["normalizer"] = tokenizer.nfc ? ordered_json{{"type", "NFC"}} : ordered_json();
  const ordered_json split = {{"type", "Split"},
                              {"pattern", {{"Regex", tokenizer.split_regex}}},
                              {"behavior", "Isolated"},
                              {"invert", false}};
  root["pre_tokenizer"] = {{"type", "Sequence"},
                           {"pretokenizers", ordered_json::array({split, byte_level()})}};
  root["post_processor"] =
      tokenizer.begin.empty()
          ? byte_level()
          : ordered_json{
                {"type", "Sequence"},
                {"processors", ordered_json::array({byte_level(), begin_template(tokenizer)})}};
  root["decoder"] = byte_level();

  // Built as text: an object of a hundred thousand keys that remembers their order is slow.
  std::string vocabulary;
  for (const auto& [bytes, id] : tokenizer.vocabulary)
    vocabulary += (vocabulary.empty() ? "" : ",") + ordered_json(to_byte_alphabet(bytes)).dump() +
                  ":" + std::to_string(id);
  std::string merges;
  for (const auto& [left, right] : tokenizer.merges)
    merges += (merges.empty() ? "" : ",") +
              ordered_json(to_byte_alphabet(left) + " " + to_byte_alphabet(right)).dump();
  ordered_json model;
  model["type"] = "BPE";
  model["dropout"] = nullptr;
  model["unk_token"] = nullptr;
  model["continuing_subword_prefix"] = "";
  model["end_of_word_suffix"] = "";
  model["fuse_unk"] = false;
  model["byte_fallback"] = false;
  model["ignore_merges"] = tokenizer.ignore_merges;
  std::string text = root.dump();
  std::string head = model.dump();
  text.pop_back();
  head.pop_back();
  return text + ",\"model\":" + head + ",\"vocab\":{" + vocabulary + "},\"merges\":[" + merges +
         "]}}\n";
}

std::string write_tokenizer_config(const std::string& separator, const std::string& begin,
                                   std::int64_t max_length) {
  ordered_json root;
  // Takes tokenizer.json as it is, in transformers 4 and 5.
  root["tokenizer_class"] = "PreTrainedTokenizerFast";
  if (!begin.empty()) root["bos_token"] = begin;
  root["eos_token"] = separator;
  root["pad_token"] = separator;
  root["model_max_length"] = max_length;
  root["clean_up_tokenization_spaces"] = false;
  return root.dump(2) + "\n";
}

}  // namespace espalier::huggingface
