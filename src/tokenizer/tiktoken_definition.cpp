#include <algorithm>
#include <optional>

#include "base/error.hpp"
#include "tokenizer/definition.hpp"

namespace espalier::tokenizer {
namespace {

std::optional<std::string> decode_base64(std::string_view text) {
  while (!text.empty() && text.back() == '=') text.remove_suffix(1);
  std::string bytes;
  std::uint32_t bits = 0;
  int num_bits = 0;
  for (char c : text) {
    std::uint32_t value = 0;
    if (c >= 'A' && c <= 'Z')
      value = static_cast<std::uint32_t>(c - 'A');
    else if (c >= 'a' && c <= 'z')
      value = static_cast<std::uint32_t>(c - 'a') + 26;
    else if (c >= '0' && c <= '9')
      value = static_cast<std::uint32_t>(c - '0') + 52;
    else if (c == '+' || c == '/')
      value = c == '+' ? 62 : 63;
    else
      return std::nullopt;
    bits = (bits << 6) | value;
    num_bits += 6;
    if (num_bits >= 8) {
      num_bits -= 8;
      bytes.push_back(static_cast<char>((bits >> num_bits) & 0xFF));
    }
  }
  if (bytes.empty() || num_bits >= 6) return std::nullopt;
  return bytes;
}

std::optional<std::uint64_t> parse_number(std::string_view text) {
  if (text.empty() || text.size() > 9) return std::nullopt;
  std::uint64_t value = 0;
  for (char c : text) {
    if (c < '0' || c > '9') return std::nullopt;
    value = value * 10 + static_cast<std::uint64_t>(c - '0');
  }
  return value;
}

/// The file has ranks and nothing else. Whose they are follows from their number; every other
/// number is read as Qwen's, whose vocabularies have had several sizes.
void choose_model(Definition& definition) {
  constexpr std::size_t kGpt2Ranks = 50'256, kLlama3Ranks = 128'000;
  const std::size_t num_ranks = definition.tokens.size();
  auto add = [&definition, id = num_ranks](std::string content) mutable {
    definition.added.push_back({std::move(content), static_cast<std::uint32_t>(id++), false});
  };
  if (num_ranks == kLlama3Ranks) {
    definition.splits = {{.scanner = PreTokenizer::llama3}};
    // As Llama 3.1 to 3.3 name them (llama_models/llama3/tokenizer.py).
    constexpr int kNumSpecial = 256;
    for (const char* name : {"<|begin_of_text|>", "<|end_of_text|>", "<|reserved_special_token_0|>",
                             "<|reserved_special_token_1|>", "<|finetune_right_pad_id|>",
                             "<|step_id|>", "<|start_header_id|>", "<|end_header_id|>",
                             "<|eom_id|>", "<|eot_id|>", "<|python_tag|>", "<|image|>"})
      add(name);
    for (int i = 2; definition.added.size() < kNumSpecial; ++i)
      add(fmt::format("<|reserved_special_token_{}|>", i));
    return;
  }
  const bool is_gpt2 = num_ranks == kGpt2Ranks;
  definition.splits = {{.scanner = is_gpt2 ? PreTokenizer::gpt2 : PreTokenizer::qwen}};
  if (!is_gpt2) definition.normalizer = {{.kind = NormalizerStep::Kind::nfc}};
  add("<|endoftext|>");
}

}  // namespace

Definition read_tiktoken(const std::filesystem::path& file, std::string_view text) {
  Definition definition;
  // tiktoken looks a piece up before it merges.
  definition.ignore_merges = true;

  std::uint64_t line_number = 0;
  while (!text.empty()) {
    std::string_view line = text.substr(0, text.find('\n'));
    text.remove_prefix(std::min(text.size(), line.size() + 1));
    ++line_number;
    if (line.ends_with('\r')) line.remove_suffix(1);
    if (line.empty()) continue;
    const std::size_t space = line.find(' ');
    const auto bytes = decode_base64(line.substr(0, space));
    const auto rank = space == line.npos ? std::nullopt : parse_number(line.substr(space + 1));
    require(bytes && rank, ExitStatus::bad_data,
            "{}:{}: not a line of a .tiktoken file (\"<base64> <rank>\")", file.string(),
            line_number);
    definition.add_token(file, *rank, *bytes, Token::Kind::bytes);
  }
  require(!definition.tokens.empty(), ExitStatus::bad_data, "{}: the file is empty", file.string());
  definition.find_bytes(file);

  Bpe bpe(definition.byte_ids, definition.tokens.size());
  Bpe::Scratch scratch;
  std::vector<std::uint32_t> parts;
  for (std::uint32_t id = 0; id < definition.tokens.size(); ++id) {
    const Token& token = definition.tokens[id];
    if (token.bytes.size() < 2) continue;
    parts.clear();
    bpe.encode(token.bytes, parts, scratch);
    // Three parts or more: no merge leads to this token, only looking up a whole piece does.
    if (parts.size() != 2) continue;
    definition.merges.push_back({parts[0], parts[1], id});
    bpe.add_merge(definition.merges.back(), id);
  }
  choose_model(definition);
  return definition;
}

}  // namespace espalier::tokenizer
