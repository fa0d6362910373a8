#include "report/unicode.hpp"

#include <utf8proc.h>

#include <cstdint>
#include <string>

namespace espalier::report {
namespace {

/// The code point at the beginning of a text that is not empty, -1 for a byte that begins none, and
/// how many bytes it takes.
struct CodePoint {
  std::int32_t value;
  std::size_t bytes;
};
CodePoint first_of(std::string_view text) {
  utf8proc_int32_t value = -1;
  const auto bytes = utf8proc_iterate(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                                      static_cast<utf8proc_ssize_t>(text.size()), &value);
  if (bytes <= 0) return {-1, 1};
  return {value, static_cast<std::size_t>(bytes)};
}

bool is_control(std::int32_t c) {
  return c < 0x20 || (c >= 0x7F && c < 0xA0) || c == 0x2028 || c == 0x2029;
}

/// Thousandths of the size, as Arial's metrics have them, of the characters from space to tilde.
constexpr std::uint16_t kArial[95] = {
    278,  278, 355, 556, 556, 889, 667, 191, 333, 333, 389, 584, 278, 333, 278, 278,  //  !"...-./
    556,  556, 556, 556, 556, 556, 556, 556, 556, 556, 278, 278, 584, 584, 584, 556,  // 0...?
    1015, 667, 667, 722, 722, 667, 611, 778, 722, 278, 500, 667, 556, 833, 722, 778,  // @...O
    667,  778, 722, 667, 611, 722, 667, 944, 667, 667, 611, 278, 278, 278, 469, 556,  // P..._
    333,  556, 556, 500, 556, 556, 278, 556, 556, 222, 222, 500, 222, 833, 556, 556,  // `...o
    556,  556, 333, 500, 278, 556, 500, 722, 500, 500, 500, 334, 260, 334, 584};      // p...~

}  // namespace

std::string printable(std::string_view text) {
  std::string clean;
  clean.reserve(text.size());
  while (!text.empty()) {
    const CodePoint c = first_of(text);
    // XML has no way to write the non-characters U+FFFE and U+FFFF.
    if (c.value < 0 || c.value == 0xFFFE || c.value == 0xFFFF)
      clean += "\xEF\xBF\xBD";
    else if (is_control(c.value))
      clean += ' ';
    else
      clean += text.substr(0, c.bytes);
    text.remove_prefix(c.bytes);
  }
  return clean;
}

std::size_t columns_of(std::string_view text) {
  std::size_t columns = 0;
  while (!text.empty()) {
    const CodePoint c = first_of(text);
    columns += c.value < 0 ? 1 : static_cast<std::size_t>(utf8proc_charwidth(c.value));
    text.remove_prefix(c.bytes);
  }
  return columns;
}

double text_width(std::string_view text, double size) {
  double thousandths = 0.0;
  while (!text.empty()) {
    const CodePoint c = first_of(text);
    if (c.value >= 0x20 && c.value < 0x7F)
      thousandths += kArial[c.value - 0x20];
    else
      thousandths += c.value < 0 ? 1000 : 600 * utf8proc_charwidth(c.value);
    text.remove_prefix(c.bytes);
  }
  return thousandths / 1000.0 * size;
}

std::string wrapped(std::string_view text, std::size_t width) {
  std::string lines;
  std::size_t column = 0;
  while (!text.empty()) {
    const std::size_t begin = text.find_first_not_of(' ');
    if (begin == std::string_view::npos) break;
    text.remove_prefix(begin);
    const std::string_view word = text.substr(0, text.find(' '));
    const std::size_t columns = columns_of(word);
    if (column > 0 && column + 1 + columns > width) {
      lines += '\n';
      column = 0;
    } else if (column > 0) {
      lines += ' ';
      ++column;
    }
    lines += word;
    column += columns;
    text.remove_prefix(word.size());
  }
  return lines;
}

}  // namespace espalier::report
