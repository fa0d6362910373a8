#pragma once
#include <array>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

namespace espalier::tokenizer {

/// What the pre-tokenisers and the normaliser ask of a code point.
using CharFlags = std::uint8_t;
inline constexpr CharFlags kLetter = 1;    ///< \p{L}
inline constexpr CharFlags kNumber = 2;    ///< \p{N}
inline constexpr CharFlags kSpace = 4;     ///< \s: property White_Space
inline constexpr CharFlags kUnstable = 8;  ///< NFC may change it, or what stands before it
inline constexpr CharFlags kClassMask = kLetter | kNumber | kSpace;

/// NFC leaves it where it is, whatever stands around it, because Hugging Face's normaliser does: it
/// knows Unicode 9, and takes later combining marks for base characters. Ids must be those the
/// vocabulary is used with elsewhere, so the newer and better order is not for us.
inline constexpr CharFlags kNfcBarrier = 16;

/// Flags of all code points as a two-stage table (equal pages of 256 are stored once), built from
/// utf8proc when first used.
class UnicodeTable {
 public:
  static const UnicodeTable& instance();
  CharFlags flags(std::uint32_t code_point) const {
    return pages_[page_of_[code_point >> 8]][code_point & 0xFF];
  }
  /// Flags of the code points below 256, for loops over ASCII.
  const CharFlags* low_flags() const { return pages_[page_of_[0]].data(); }

 private:
  using Page = std::array<CharFlags, 256>;
  UnicodeTable();
  std::array<std::uint16_t, 0x1100> page_of_{};
  std::vector<Page> pages_;
};

/// A code point of valid UTF-8 and how many bytes it takes.
struct CodePoint {
  std::uint32_t value;
  int num_bytes;
};

[[gnu::always_inline]] inline CodePoint decode_utf8(const char* text) {
  const auto byte = [text](int i) {
    return static_cast<std::uint32_t>(static_cast<unsigned char>(text[i]));
  };
  const std::uint32_t lead = byte(0);
  if (lead < 0x80) return {lead, 1};
  if (lead < 0xE0) return {((lead & 0x1F) << 6) | (byte(1) & 0x3F), 2};
  if (lead < 0xF0) return {((lead & 0x0F) << 12) | ((byte(1) & 0x3F) << 6) | (byte(2) & 0x3F), 3};
  return {
      ((lead & 0x07) << 18) | ((byte(1) & 0x3F) << 12) | ((byte(2) & 0x3F) << 6) | (byte(3) & 0x3F),
      4};
}

/// Whether a code point is of a word (\w): letters, marks, digits, numbers that are letters,
/// connecting signs, letters in circles and squares, and the two joiners.
bool is_word(std::uint32_t code_point);

void append_utf8(std::uint32_t code_point, std::string& text);

bool is_valid_utf8(std::string_view text);
/// `text` with U+FFFD for each maximal ill-formed part.
std::string replace_ill_formed(std::string_view text);

/// Sets kUnstable and kNfcBarrier in the flags of all code points.
void mark_nfc(std::vector<CharFlags>& flags);
/// True when valid UTF-8 is surely in NFC already: it has no code point that takes part in a
/// composition or decomposition. False means: normalise to know.
bool is_surely_nfc(std::string_view text, const UnicodeTable& table);
/// `normalized` becomes the NFC of valid UTF-8, as of Unicode 9 (see kNfcBarrier).
void normalize_nfc(std::string_view text, const UnicodeTable& table, std::string& normalized);

}  // namespace espalier::tokenizer
