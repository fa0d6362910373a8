#include "tokenizer/character_coding.hpp"

#include <fmt/core.h>

#include "tokenizer/normalizer.hpp"

namespace espalier::tokenizer {
namespace {

std::string replaced(std::string_view text, std::string_view pattern, std::string_view content) {
  std::string result;
  replace_all(text, pattern, content, result);
  return result;
}

/// Of "<0x0A>": 10; of anything else: -1.
int byte_of(std::string_view token) {
  if (token.size() != 6 || !token.starts_with("<0x") || token.back() != '>') return -1;
  int value = 0;
  for (const char c : token.substr(3, 2)) {
    const std::size_t digit =
        std::string_view("0123456789abcdef")
            .find(c >= 'A' && c <= 'F' ? static_cast<char>(c + ('a' - 'A')) : c);
    if (digit == std::string_view::npos) return -1;
    value = 16 * value + static_cast<int>(digit);
  }
  return value;
}

}  // namespace

CharacterCoding::CharacterCoding(const Definition& definition) : alphabet_(*definition.characters) {
  ascii_.fill(kNoRank);
  byte_ids_.fill(kNoRank);
  const auto take = [&](const Token& token, std::uint32_t id) {
    if (token.kind != Token::Kind::bytes || token.bytes.empty()) return;
    const CodePoint c = decode_utf8(token.bytes.data());
    if (static_cast<std::size_t>(c.num_bytes) == token.bytes.size())
      (c.value < 128 ? ascii_[c.value] : others_[c.value]) = id;
  };
  for (std::uint32_t id = 0; id < definition.tokens.size(); ++id) {
    const Token& token = definition.tokens[id];
    take(token, id);
    decoded_.emplace_back();
    decoded_first_.emplace_back();
    set_text(id, token.bytes);
  }
  if (!alphabet_.has_byte_fallback) return;
  std::unordered_map<std::string_view, std::uint32_t> ids;
  for (std::uint32_t id = 0; id < definition.tokens.size(); ++id)
    if (definition.tokens[id].kind == Token::Kind::bytes)
      ids.emplace(definition.tokens[id].bytes, id);
  for (std::size_t byte = 0; byte < 256; ++byte) {
    const auto found = ids.find(fmt::format("<0x{:02X}>", byte));
    if (found != ids.end()) byte_ids_[byte] = found->second;
  }
}

void CharacterCoding::set_text(std::uint32_t id, std::string_view token) {
  std::string text(token);
  for (const auto& [pattern, content] : alphabet_.decoded_as)
    text = replaced(text, pattern, content);
  const int byte = alphabet_.decodes_bytes ? byte_of(text) : -1;
  decoded_[id] = byte >= 0 ? std::string(1, static_cast<char>(byte)) : std::move(text);
  if (!alphabet_.first_without.empty())
    decoded_first_[id] = replaced(token, alphabet_.first_without, "");
}

std::uint32_t CharacterCoding::id_of(std::uint32_t code_point) const {
  if (code_point < 128) return ascii_[code_point];
  const auto found = others_.find(code_point);
  return found == others_.end() ? kNoRank : found->second;
}

void CharacterCoding::symbols_of(std::string_view piece,
                                 std::vector<std::uint32_t>& symbols) const {
  symbols.clear();
  // As Hugging Face's merge_word: an unknown one waits for those that follow, and only a character
  // of the vocabulary ends that.
  bool has_unknown = false;
  const auto put_unknown = [&] {
    if (has_unknown) symbols.push_back(*alphabet_.unknown);
    has_unknown = false;
  };
  const char* end = piece.data() + piece.size();
  for (const char* p = piece.data(); p < end;) {
    const CodePoint c = decode_utf8(p);
    const char* next = p + c.num_bytes;
    if (const std::uint32_t id = id_of(c.value); id != kNoRank) {
      put_unknown();
      symbols.push_back(id);
    } else {
      const std::size_t before = symbols.size();
      bool has_all = alphabet_.has_byte_fallback;
      for (const char* q = p; has_all && q < next; ++q) {
        const std::uint32_t byte = byte_ids_[static_cast<unsigned char>(*q)];
        has_all = byte != kNoRank;
        symbols.push_back(byte);
      }
      if (!has_all) {
        symbols.resize(before);
        if (!alphabet_.fuses_unknown) put_unknown();
        has_unknown = alphabet_.unknown.has_value();
      }
    }
    p = next;
  }
  put_unknown();
}

std::string CharacterCoding::decode(std::span<const std::uint32_t> ids, bool begins_text) const {
  std::string text;
  for (std::size_t i = 0; i < ids.size(); ++i) {
    if (ids[i] >= decoded_.size()) continue;  // no token
    text += i == 0 && begins_text && !alphabet_.first_without.empty() ? decoded_first_[ids[i]]
                                                                      : decoded_[ids[i]];
  }
  if (!begins_text || alphabet_.stripped.empty()) return text;
  std::size_t at = 0;
  for (std::size_t n = 0; n < alphabet_.most_stripped &&
                          std::string_view(text).substr(at).starts_with(alphabet_.stripped);
       ++n)
    at += alphabet_.stripped.size();
  return text.substr(at);
}

bool CharacterCoding::words_never_merge(const Definition& definition) {
  if (!definition.characters || !definition.splits.empty() || definition.ignore_merges)
    return false;
  bool has_mark = false;
  for (const Token& token : definition.tokens)
    has_mark |= token.kind == Token::Kind::bytes && token.bytes == kBlankMark;
  if (!has_mark) return false;
  for (const Merge& merge : definition.merges)
    if (!definition.tokens[merge.left].bytes.ends_with(kBlankMark) &&
        definition.tokens[merge.right].bytes.starts_with(kBlankMark))
      return false;
  return true;
}

}  // namespace espalier::tokenizer
