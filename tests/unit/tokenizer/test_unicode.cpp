#include <catch2/catch.hpp>
#include <string>
#include <vector>

#include "tokenizer/unicode.hpp"

using namespace espalier::tokenizer;

namespace {

std::string utf8(const std::vector<std::uint32_t>& code_points) {
  std::string text;
  for (const std::uint32_t c : code_points) append_utf8(c, text);
  return text;
}

std::string nfc(const std::string& text) {
  std::string normalized;
  normalize_nfc(text, UnicodeTable::instance(), normalized);
  return normalized;
}

std::string times(std::size_t count, const std::string& text) {
  std::string result;
  result.reserve(count * text.size());
  for (std::size_t i = 0; i < count; ++i) result += text;
  return result;
}

CharFlags class_of(std::uint32_t code_point) {
  return UnicodeTable::instance().flags(code_point) & kClassMask;
}

}  // namespace

TEST_CASE("U+11A7 is no final consonant of Hangul", "[unicode]") {
  // The final consonants begin at U+11A8 (Unicode 15, section 3.12); utf8proc 2.8 drops U+11A7.
  CHECK(nfc(utf8({0xAC00, 0x11A7})) == utf8({0xAC00, 0x11A7}));
  CHECK(nfc(utf8({0x1100, 0x1161, 0x11A7})) == utf8({0xAC00, 0x11A7}));
  CHECK(nfc(utf8({0xAC00, 0x11A7, 0x11A8})) == utf8({0xAC00, 0x11A7, 0x11A8}));
  // Before what is unstable it would be normalised together with the syllable.
  CHECK(nfc(utf8({0x1100, 0x1161, 0x11A7, 0x11A8})) == utf8({0xAC00, 0x11A7, 0x11A8}));
  CHECK(nfc(utf8({0x1100, 0x1161, 0x11A7, 0x0301})) == utf8({0xAC00, 0x11A7, 0x0301}));
  CHECK(nfc(utf8({0xAC00, 0x0301, 0x1161, 0x11A7, 0x0301})) ==
        utf8({0xAC00, 0x0301, 0x1161, 0x11A7, 0x0301}));
  CHECK(nfc(utf8({0xAC00, 0x11A8})) == utf8({0xAC01}));
  CHECK(nfc(utf8({0x1100, 0x1161, 0x11A8})) == utf8({0xAC01}));
  CHECK(nfc(utf8({0xAC00, 0x11C2})) == utf8({0xAC1B}));
  CHECK(nfc(utf8({0xAC00, 0x11C3})) == utf8({0xAC00, 0x11C3}));  // one after the last
  CHECK(nfc(utf8({0xAC01, 0x11A8})) == utf8({0xAC01, 0x11A8}));  // has a final consonant
  for (std::uint32_t syllable = 0xAC00; syllable < 0xD7A4; syllable += 28)
    REQUIRE(nfc(utf8({syllable, 0x11A7})) == utf8({syllable, 0x11A7}));
}

TEST_CASE("Long runs of combining marks come into canonical order", "[unicode]") {
  const std::string below = utf8({0x0323}), above = utf8({0x0301});  // classes 220 and 230
  // The first mark below composes with the letter: U+1EA1 has no composition with U+0301. Lengths
  // on both sides of the one from which marks are ordered otherwise; at the last, exchanging
  // neighbours would take 10^11 steps.
  for (const std::size_t count : {1, 2, 50, 63, 64, 65, 100, 1000, 500'000}) {
    INFO(count << " of each mark");
    const std::string expected =
        utf8({0x1EA1}) + times(count - 1, below) + times(count, above) + "b";
    CHECK((nfc("a" + times(count, above + below) + "b") == expected));
    CHECK((nfc("a" + times(count, above) + times(count, below) + "b") == expected));
  }
  // Equal classes keep their order (D109): U+0301, U+0300 and U+0308 are all of class 230.
  const std::string equals = times(300, utf8({0x0301, 0x0300, 0x0308}));
  CHECK((nfc("q" + equals) == "q" + equals));
  // What Hugging Face takes for a base character parts a run.
  const std::string barrier = utf8({0x1DFA});
  CHECK((nfc("q" + times(200, above + below) + barrier + times(200, above + below)) ==
         "q" + times(200, below) + times(200, above) + barrier + times(200, below) +
             times(200, above)));
}

TEST_CASE("Letters and numbers are those of Unicode 16", "[unicode]") {
  const std::vector<std::uint32_t> letters = {
      0x1C89,  0x1C8A,  0xA7CB,  0xA7CD,  0xA7DA,  0xA7DC,  0x105C0, 0x105F3, 0x10D4A, 0x10D65,
      0x10D6F, 0x10D85, 0x10EC2, 0x11380, 0x1138B, 0x1138E, 0x113B5, 0x113D1, 0x11BC0, 0x13460,
      0x143FA, 0x16100, 0x16D40, 0x18CFF, 0x1E5D0, 0x1E5F0, 0x2EBF0, 0x2EE5D};
  const std::vector<std::uint32_t> numbers = {0x10D40, 0x10D49, 0x116D0, 0x116E3, 0x11BF0,
                                              0x11BF9, 0x16130, 0x16139, 0x16D70, 0x16D79,
                                              0x1CCF0, 0x1CCF9, 0x1E5F1, 0x1E5FA};
  // Unassigned, or signs and marks, beside them.
  const std::vector<std::uint32_t> neither = {0x1C8B,  0x105F4, 0x10D66, 0x10D6E, 0x1138A,
                                              0x1138C, 0x113B6, 0x113D2, 0x116E4, 0x11BE1,
                                              0x143FB, 0x1611E, 0x1CCFA, 0x1E5FB, 0x2EE5E};
  for (const std::uint32_t c : letters) {
    INFO(std::hex << c);
    CHECK(class_of(c) == kLetter);
  }
  for (const std::uint32_t c : numbers) {
    INFO(std::hex << c);
    CHECK(class_of(c) == kNumber);
  }
  for (const std::uint32_t c : neither) {
    INFO(std::hex << c);
    CHECK(class_of(c) == 0);
  }
}

TEST_CASE("Normalising what is normalised changes nothing", "[unicode]") {
  // Two code points of every kind, the second of which may belong to the first.
  const std::vector<std::uint32_t> kinds = {'a',    0xE9,   0x0301, 0x0323,  0x0345,  0x1100,
                                            0x1161, 0x11A7, 0x11A8, 0xAC00,  0xAC01,  0x1DFA,
                                            0x0344, 0x212B, 0x304B, 0x3099,  0x09C7,  0x09BE,
                                            0xFB1D, 0x0F71, 0x0F73, 0x11935, 0x11930, 0x2EBF0};
  for (const std::uint32_t a : kinds)
    for (const std::uint32_t b : kinds)
      for (const std::uint32_t c : kinds) {
        const std::string once = nfc(utf8({a, b, c}));
        REQUIRE(nfc(once) == once);
      }
}
