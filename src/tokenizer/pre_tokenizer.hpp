#pragma once
#include <cstdint>
#include <optional>
#include <string_view>

#include "tokenizer/unicode.hpp"

namespace espalier::tokenizer {

/// The ways in which text is cut into pieces before the merges. Each is a regular expression in the
/// files; here it is a hand-written scanner that finds the same match at every position.
enum class PreTokenizer : std::uint8_t {
  gpt2,   ///< ByteLevel's own expression
  qwen,   ///< Qwen2 and Qwen3: as llama3, every digit by itself
  llama3  ///< contractions in any case, numbers in groups of at most three digits
};

std::string_view name_of(PreTokenizer pre_tokenizer);
/// The pre-tokeniser whose regular expression this is.
std::optional<PreTokenizer> pre_tokenizer_from_regex(std::string_view regex);
/// The regular expression itself.
std::string_view regex_of(PreTokenizer pre_tokenizer);

namespace detail {

/// What the loops are made of is always inlined: a call per character would cost a tenth of the
/// whole, and the compiler leaves one where it finds a function in several places.
class Scanner {
 public:
  Scanner(const char* end, const UnicodeTable& table)
      : end_(end), ascii_(table.low_flags()), table_(table) {}

  struct Char {
    CharFlags kind;  ///< kLetter, kNumber, kSpace or 0
    const char* next;
  };
  [[gnu::always_inline]] Char at(const char* p) const {
    const auto byte = static_cast<unsigned char>(*p);
    if (byte < 0x80) return {ascii_[byte], p + 1};  // ASCII has no flags of NFC
    const CodePoint c = decode_utf8(p);
    return {static_cast<CharFlags>(table_.flags(c.value) & kClassMask), p + c.num_bytes};
  }
  [[gnu::always_inline]] const char* run(const char* p, CharFlags kind) const {
    while (p < end_) {
      const auto byte = static_cast<unsigned char>(*p);
      if (byte < 0x80) {
        if (ascii_[byte] != kind) break;
        ++p;
        continue;
      }
      const Char c = at(p);
      if (c.kind != kind) break;
      p = c.next;
    }
    return p;
  }
  const char* run_at_most(const char* p, CharFlags kind, int count) const {
    for (; count > 0 && p < end_; --count) {
      const Char c = at(p);
      if (c.kind != kind) break;
      p = c.next;
    }
    return p;
  }
  const char* newlines(const char* p) const {
    while (p < end_ && (*p == '\r' || *p == '\n')) ++p;
    return p;
  }

  /// After an apostrophe: the end of s, t, re, ve, m, ll or d, or p itself. `Fold`: in any case;
  /// U+017F (long s) then is an s.
  template <bool Fold>
  const char* contraction(const char* p) const {
    if (p == end_) return p;
    const auto letter = [this](const char* q) {
      if (q >= end_) return '\0';
      return Fold && *q >= 'A' && *q <= 'Z' ? static_cast<char>(*q + ('a' - 'A')) : *q;
    };
    const char first = letter(p);
    if (first == 's' || first == 't' || first == 'm' || first == 'd') return p + 1;
    const char second = letter(p + 1);
    if ((first == 'r' || first == 'v') && second == 'e') return p + 2;
    if (first == 'l' && second == 'l') return p + 2;
    if (Fold && first == '\xC5' && second == '\xBF') return p + 2;
    return p;
  }

  /// \s+(?!\S)|\s+ where `next` follows the first white space: all of it at the end of the text,
  /// all but the last one before something else.
  [[gnu::always_inline]] const char* spaces(const char* next) const {
    const char* last = nullptr;  // where the last white space begins, when it is not the first
    while (next < end_) {
      const Char c = at(next);
      if (c.kind != kSpace) return last != nullptr ? last : next;
      last = next;
      next = c.next;
    }
    return end_;
  }
  /// \s*[\r\n]+ where there is a line end in the white space at p; otherwise nullptr.
  [[gnu::always_inline]] const char* through_last_newline(const char* p) const {
    const char* found = nullptr;
    while (p < end_) {
      const Char c = at(p);
      if (c.kind != kSpace) break;
      if (*p == '\r' || *p == '\n') found = c.next;
      p = c.next;
    }
    return found;
  }

  const char* end() const { return end_; }

 private:
  const char* end_;
  const CharFlags* ascii_;
  const UnicodeTable& table_;
};

/// '(?i:s|t|re|ve|m|ll|d) | [^\r\n\p{L}\p{N}]?\p{L}+ | \p{N}{1,digits} |
///  ?[^\s\p{L}\p{N}]+[\r\n]* | \s*[\r\n]+ | \s+(?!\S) | \s+
[[gnu::always_inline]] inline const char* next_piece_of_qwen(const Scanner& scan, const char* p,
                                                             int digits) {
  const Scanner::Char first = scan.at(p);
  if (first.kind == kLetter) return scan.run(first.next, kLetter);
  if (first.kind == kNumber) return scan.run_at_most(first.next, kNumber, digits - 1);
  if (*p == '\'') {
    const char* q = scan.contraction<true>(first.next);
    if (q != first.next) return q;
  }
  if (first.next < scan.end() && *p != '\r' && *p != '\n') {
    const Scanner::Char second = scan.at(first.next);
    if (second.kind == kLetter) return scan.run(second.next, kLetter);
    if (*p == ' ' && second.kind == 0) return scan.newlines(scan.run(second.next, 0));
  }
  if (first.kind == 0) return scan.newlines(scan.run(first.next, 0));
  const char* q = scan.through_last_newline(p);
  return q != nullptr ? q : scan.spaces(first.next);
}

/// '(s|t|re|ve|m|ll|d) |  ?\p{L}+ |  ?\p{N}+ |  ?[^\s\p{L}\p{N}]+ | \s+(?!\S) | \s+
[[gnu::always_inline]] inline const char* next_piece_of_gpt2(const Scanner& scan, const char* p) {
  const Scanner::Char first = scan.at(p);
  if (*p == '\'') {
    const char* q = scan.contraction<false>(first.next);
    if (q != first.next) return q;
  }
  if (first.kind != kSpace) return scan.run(first.next, first.kind);
  if (*p == ' ' && first.next < scan.end()) {
    const Scanner::Char second = scan.at(first.next);
    if (second.kind != kSpace) return scan.run(second.next, second.kind);
  }
  return scan.spaces(first.next);
}

/// The end of the piece that begins at p, behind a call: the loop of a whole text, below, is fast
/// because everything is inlined in it, and the compiler does that for few callers.
const char* end_of_piece(PreTokenizer kind, const Scanner& scan, const char* p);

}  // namespace detail

/// Calls sink(begin, end) for every piece of valid UTF-8, in order; the pieces join to the text.
template <class Sink>
void for_each_piece(PreTokenizer kind, std::string_view text, const UnicodeTable& table,
                    Sink&& sink) {
  const char* end = text.data() + text.size();
  const detail::Scanner scan(end, table);
  const auto loop = [&](auto&& next_piece) {
    for (const char* p = text.data(); p < end;) {
      const char* q = next_piece(p);
      sink(p, q);
      p = q;
    }
  };
  switch (kind) {
    case PreTokenizer::gpt2:
      return loop([&](const char* p) { return detail::next_piece_of_gpt2(scan, p); });
    case PreTokenizer::qwen:
      return loop([&](const char* p) { return detail::next_piece_of_qwen(scan, p, 1); });
    case PreTokenizer::llama3:
      return loop([&](const char* p) { return detail::next_piece_of_qwen(scan, p, 3); });
  }
}

}  // namespace espalier::tokenizer
