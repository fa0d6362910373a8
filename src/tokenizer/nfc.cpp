#include <utf8proc.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <vector>

#include "base/error.hpp"
#include "tokenizer/unicode.hpp"

namespace espalier::tokenizer {
namespace {

/// Combining marks (and U+11930, the second half of a composition) assigned after Unicode 9, up to
/// Unicode 15. Found by comparing every code point between marks with Hugging Face's NFC.
struct Range {
  std::uint32_t first, last;
};
constexpr Range kAfterUnicode9[] = {
    {0x07FD, 0x07FD},   {0x0898, 0x089F},   {0x08CA, 0x08D3},   {0x09FE, 0x09FE},
    {0x0C3C, 0x0C3C},   {0x0D3B, 0x0D3C},   {0x0EBA, 0x0EBA},   {0x1715, 0x1715},
    {0x1ABF, 0x1ACE},   {0x1DF6, 0x1DFA},   {0xA82C, 0xA82C},   {0x10D24, 0x10D27},
    {0x10EAB, 0x10EAC}, {0x10EFD, 0x10EFF}, {0x10F46, 0x10F50}, {0x10F82, 0x10F85},
    {0x11070, 0x11070}, {0x1133B, 0x1133B}, {0x1145E, 0x1145E}, {0x11839, 0x1183A},
    {0x11930, 0x11930}, {0x1193D, 0x1193E}, {0x11943, 0x11943}, {0x119E0, 0x119E0},
    {0x11A34, 0x11A34}, {0x11A47, 0x11A47}, {0x11A99, 0x11A99}, {0x11D42, 0x11D42},
    {0x11D44, 0x11D45}, {0x11D97, 0x11D97}, {0x11F41, 0x11F42}, {0x16FF0, 0x16FF1},
    {0x1E08F, 0x1E08F}, {0x1E130, 0x1E136}, {0x1E2AE, 0x1E2AE}, {0x1E2EC, 0x1E2EF},
    {0x1E4EC, 0x1E4EF}};

/// One before the first final consonant of Hangul. It composes with nothing (Unicode 15, section
/// 3.12), but utf8proc 2.8 counts it among the final consonants and drops it after a syllable.
constexpr Range kNoFinalConsonant = {0x11A7, 0x11A7};

/// `text` decomposed, its marks in canonical order (Unicode 15, section 3.11, D108 and D109).
std::string decomposed(std::string_view text) {
  struct Part {
    std::uint32_t code_point;
    std::uint16_t combining_class;
  };
  std::vector<Part> parts;
  for (const char* p = text.data(); p < text.data() + text.size();) {
    const CodePoint c = decode_utf8(p);
    utf8proc_int32_t found[8];
    int boundary = 0;
    const utf8proc_ssize_t count = utf8proc_decompose_char(static_cast<utf8proc_int32_t>(c.value),
                                                           found, 8, UTF8PROC_DECOMPOSE, &boundary);
    ESPALIER_ASSERT(count > 0 && count <= 8, "U+{:04X} decomposes into {}", c.value, count);
    for (utf8proc_ssize_t i = 0; i < count; ++i) {
      const auto combining_class = utf8proc_get_property(found[i])->combining_class;
      parts.push_back(
          {static_cast<std::uint32_t>(found[i]), static_cast<std::uint16_t>(combining_class)});
    }
    p += c.num_bytes;
  }
  const auto is_mark = [](const Part& part) { return part.combining_class != 0; };
  const auto by_class = [](const Part& a, const Part& b) {
    return a.combining_class < b.combining_class;
  };
  for (auto begin = parts.begin(); begin != parts.end();) {
    begin = std::find_if(begin, parts.end(), is_mark);
    const auto end = std::find_if_not(begin, parts.end(), is_mark);
    std::stable_sort(begin, end, by_class);
    begin = end;
  }
  std::string result;
  for (const Part& part : parts) append_utf8(part.code_point, result);
  return result;
}

void append_nfc(std::string_view text, std::string& normalized) {
  if (text.empty()) return;
  // utf8proc orders marks by exchanging neighbours, in quadratic time; in order, they cost nothing.
  constexpr std::size_t kLongText = 256;
  std::string ordered;
  if (text.size() > kLongText) text = ordered = decomposed(text);
  utf8proc_uint8_t* result = nullptr;
  const utf8proc_ssize_t size =
      utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                   static_cast<utf8proc_ssize_t>(text.size()), &result,
                   static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
  if (size < 0)
    fail(ExitStatus::internal, "utf8proc_map failed on {} bytes: {}", text.size(),
         utf8proc_errmsg(size));
  const std::unique_ptr<utf8proc_uint8_t, decltype(&std::free)> owner(result, &std::free);
  normalized.append(reinterpret_cast<const char*>(result), static_cast<std::size_t>(size));
}

}  // namespace

// Not inert under NFC are the code points with a combining class, those with a canonical
// decomposition, and those that can be the second half of a composition.
void mark_nfc(std::vector<CharFlags>& flags) {
  for (std::uint32_t c = 0x80; c < flags.size(); ++c) {
    if (c >= 0xD800 && c < 0xE000) continue;
    const auto code_point = static_cast<utf8proc_int32_t>(c);
    if (utf8proc_get_property(code_point)->combining_class != 0) flags[c] |= kUnstable;
    utf8proc_int32_t parts[8];
    int boundary = 0;
    const utf8proc_ssize_t count =
        utf8proc_decompose_char(code_point, parts, 8, UTF8PROC_DECOMPOSE, &boundary);
    if (count == 1 && parts[0] == code_point) continue;
    // A composite that NFC keeps (U+00E9) is inert by itself; its last part composes.
    if (count > 1) flags[static_cast<std::uint32_t>(parts[count - 1])] |= kUnstable;
    std::string alone, normalized;
    append_utf8(c, alone);
    append_nfc(alone, normalized);
    if (normalized != alone) flags[c] |= kUnstable;
  }
  const auto set_barrier = [&flags](const Range& range) {
    for (std::uint32_t c = range.first; c <= range.last; ++c)
      flags[c] = static_cast<CharFlags>((flags[c] & ~kUnstable) | kNfcBarrier);
  };
  for (const Range& range : kAfterUnicode9) set_barrier(range);
  set_barrier(kNoFinalConsonant);
}

namespace {

const char* first_unstable(const char* p, const char* end, const UnicodeTable& table) {
  while (p < end) {
    std::uint64_t word = 0;
    if (end - p >= 8) {
      std::memcpy(&word, p, 8);
      if ((word & 0x8080808080808080u) == 0) {
        p += 8;
        continue;
      }
    }
    if (static_cast<unsigned char>(*p) < 0xCC) {  // below U+0300 nothing composes
      ++p;
      continue;
    }
    const CodePoint c = decode_utf8(p);
    if ((table.flags(c.value) & kUnstable) != 0) return p;
    p += c.num_bytes;
  }
  return end;
}

}  // namespace

bool is_surely_nfc(std::string_view text, const UnicodeTable& table) {
  const char* end = text.data() + text.size();
  return first_unstable(text.data(), end, table) == end;
}

// What is not unstable takes no part in what stands before it, and is in NFC by itself. So only
// unstable code points, each with the one before it, must be normalised; the rest is copied.
void normalize_nfc(std::string_view text, const UnicodeTable& table, std::string& normalized) {
  normalized.clear();
  const char* end = text.data() + text.size();
  const auto flags_at = [&](const char* p) { return table.flags(decode_utf8(p).value); };
  const auto after = [](const char* p) { return p + decode_utf8(p).num_bytes; };
  for (const char* copied = text.data(); copied < end;) {
    const char* unstable = first_unstable(copied, end, table);
    const char* begin = unstable;
    if (unstable > copied && unstable < end) {
      do --begin;
      while ((static_cast<unsigned char>(*begin) & 0xC0) == 0x80);
      if ((flags_at(begin) & kNfcBarrier) != 0) begin = unstable;
    }
    normalized.append(copied, begin);
    const char* p = unstable;
    while (p < end) {
      const CharFlags flags = flags_at(p);
      if ((flags & kNfcBarrier) != 0) break;
      const char* next = after(p);
      if ((flags & kUnstable) == 0 && (next == end || (flags_at(next) & kUnstable) == 0)) break;
      p = next;
    }
    append_nfc({begin, p}, normalized);
    copied = p;
  }
}

}  // namespace espalier::tokenizer
