#include "tokenizer/unicode.hpp"

#include <utf8proc.h>

#include <algorithm>
#include <cstring>
#include <map>

#include "tokenizer/unicode_categories.hpp"

namespace espalier::tokenizer {
namespace {

constexpr std::uint32_t kNumCodePoints = 0x110000;

bool is_white_space(std::uint32_t c) {
  return (c >= 0x09 && c <= 0x0D) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 ||
         (c >= 0x2000 && c <= 0x200A) || c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F ||
         c == 0x3000;
}

/// Letters and numbers of Unicode 15.1 and 16, which Hugging Face's regular expressions know and
/// utf8proc 2.8 does not. Found by cutting every code point with it.
struct ClassRange {
  std::uint32_t first, last;
  CharFlags kind;
};
constexpr ClassRange kAfterUnicode15[] = {
    {0x1C89, 0x1C8A, kLetter},   {0xA7CB, 0xA7CD, kLetter},   {0xA7DA, 0xA7DC, kLetter},
    {0x105C0, 0x105F3, kLetter}, {0x10D40, 0x10D49, kNumber}, {0x10D4A, 0x10D65, kLetter},
    {0x10D6F, 0x10D85, kLetter}, {0x10EC2, 0x10EC4, kLetter}, {0x11380, 0x11389, kLetter},
    {0x1138B, 0x1138B, kLetter}, {0x1138E, 0x1138E, kLetter}, {0x11390, 0x113B5, kLetter},
    {0x113B7, 0x113B7, kLetter}, {0x113D1, 0x113D1, kLetter}, {0x113D3, 0x113D3, kLetter},
    {0x116D0, 0x116E3, kNumber}, {0x11BC0, 0x11BE0, kLetter}, {0x11BF0, 0x11BF9, kNumber},
    {0x13460, 0x143FA, kLetter}, {0x16100, 0x1611D, kLetter}, {0x16130, 0x16139, kNumber},
    {0x16D40, 0x16D6C, kLetter}, {0x16D70, 0x16D79, kNumber}, {0x18CFF, 0x18CFF, kLetter},
    {0x1CCF0, 0x1CCF9, kNumber}, {0x1E5D0, 0x1E5ED, kLetter}, {0x1E5F0, 0x1E5F0, kLetter},
    {0x1E5F1, 0x1E5FA, kNumber}, {0x2EBF0, 0x2EE5D, kLetter}};

CharFlags class_of(std::uint32_t code_point) {
  if (is_white_space(code_point)) return kSpace;
  for (const ClassRange& range : kAfterUnicode15)
    if (code_point >= range.first && code_point <= range.last) return range.kind;
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(code_point))) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
      return kLetter;
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_NO:
      return kNumber;
    default:
      return 0;
  }
}

}  // namespace

UnicodeTable::UnicodeTable() {
  std::vector<CharFlags> flags(kNumCodePoints);
  for (std::uint32_t c = 0; c < kNumCodePoints; ++c) flags[c] = class_of(c);
  mark_nfc(flags);
  std::map<Page, std::uint16_t> known;
  for (std::size_t page = 0; page < page_of_.size(); ++page) {
    Page contents;
    std::copy_n(flags.begin() + static_cast<std::ptrdiff_t>(page * 256), 256, contents.begin());
    const auto [entry, is_new] =
        known.try_emplace(contents, static_cast<std::uint16_t>(pages_.size()));
    if (is_new) pages_.push_back(contents);
    page_of_[page] = entry->second;
  }
}

const UnicodeTable& UnicodeTable::instance() {
  static const UnicodeTable table;
  return table;
}

bool is_word(std::uint32_t c) {
  for (const CategoryRange& range : categories_after_unicode_14())
    if (c >= range.first && c <= range.last)
      return range.category[0] == 'L' || range.category[0] == 'M' || range.category == "Nd" ||
             range.category == "Nl" || range.category == "Pc";
  switch (utf8proc_category(static_cast<utf8proc_int32_t>(c))) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC:
      return true;
    default:
      return (c >= 0x24B6 && c <= 0x24E9) || (c >= 0x1F130 && c <= 0x1F149) ||
             (c >= 0x1F150 && c <= 0x1F169) || (c >= 0x1F170 && c <= 0x1F189) || c == 0x200C ||
             c == 0x200D;
  }
}

void append_utf8(std::uint32_t c, std::string& text) {
  const auto put = [&text](std::uint32_t byte) { text.push_back(static_cast<char>(byte)); };
  if (c < 0x80) {
    put(c);
  } else if (c < 0x800) {
    put(0xC0 | (c >> 6));
    put(0x80 | (c & 0x3F));
  } else if (c < 0x10000) {
    put(0xE0 | (c >> 12));
    put(0x80 | ((c >> 6) & 0x3F));
    put(0x80 | (c & 0x3F));
  } else {
    put(0xF0 | (c >> 18));
    put(0x80 | ((c >> 12) & 0x3F));
    put(0x80 | ((c >> 6) & 0x3F));
    put(0x80 | (c & 0x3F));
  }
}

namespace {

/// Bytes at the start of `text` that are ASCII.
std::size_t ascii_prefix(std::string_view text) {
  std::size_t i = 0;
  for (; i + 8 <= text.size(); i += 8) {
    std::uint64_t word;
    std::memcpy(&word, text.data() + i, 8);
    if ((word & 0x8080808080808080u) != 0) break;
  }
  while (i < text.size() && static_cast<unsigned char>(text[i]) < 0x80) ++i;
  return i;
}

/// The well-formed sequence at the start of `text`, or the maximal part of an ill-formed one
/// (Unicode 15, table 3-7 and section 3.9).
struct Sequence {
  std::size_t num_bytes;
  bool is_valid;
};

Sequence first_sequence(std::string_view text) {
  const auto byte = [text](std::size_t i) { return static_cast<unsigned char>(text[i]); };
  const unsigned char lead = byte(0);
  if (lead < 0x80) return {1, true};
  std::size_t length = 0;
  unsigned char low = 0x80, high = 0xBF;  // what the second byte may be
  if (lead >= 0xC2 && lead <= 0xDF) {
    length = 2;
  } else if (lead >= 0xE0 && lead <= 0xEF) {
    length = 3;
    if (lead == 0xE0) low = 0xA0;   // no overlong form
    if (lead == 0xED) high = 0x9F;  // no surrogate
  } else if (lead >= 0xF0 && lead <= 0xF4) {
    length = 4;
    if (lead == 0xF0) low = 0x90;
    if (lead == 0xF4) high = 0x8F;  // nothing past U+10FFFF
  } else {
    return {1, false};
  }
  for (std::size_t i = 1; i < length; ++i) {
    if (i == text.size() || byte(i) < low || byte(i) > high) return {i, false};
    low = 0x80;
    high = 0xBF;
  }
  return {length, true};
}

}  // namespace

bool is_valid_utf8(std::string_view text) {
  while (!text.empty()) {
    text.remove_prefix(ascii_prefix(text));
    while (!text.empty() && static_cast<unsigned char>(text[0]) >= 0x80) {
      const Sequence sequence = first_sequence(text);
      if (!sequence.is_valid) return false;
      text.remove_prefix(sequence.num_bytes);
    }
  }
  return true;
}

std::string replace_ill_formed(std::string_view text) {
  std::string repaired;
  repaired.reserve(text.size() + 16);
  while (!text.empty()) {
    const Sequence sequence = first_sequence(text);
    if (sequence.is_valid)
      repaired.append(text.substr(0, sequence.num_bytes));
    else
      repaired.append("\xEF\xBF\xBD");
    text.remove_prefix(sequence.num_bytes);
  }
  return repaired;
}

}  // namespace espalier::tokenizer
