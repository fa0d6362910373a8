#pragma once
#include <cstddef>
#include <string>
#include <string_view>

namespace espalier::report {

/// The text as a terminal, Markdown and XML can show it: what is no UTF-8 becomes U+FFFD, and line
/// ends, tabs and other control characters become spaces.
std::string printable(std::string_view text);

/// Columns of a terminal that `printable` text takes: none for combining marks, two for the wide
/// characters of East Asia.
std::size_t columns_of(std::string_view text);

/// Width in pixels of text in Arial or Helvetica of `size` pixels, to a few per cent; of characters
/// outside of ASCII a generous guess.
double text_width(std::string_view text, double size);

/// The words of a text, divided at spaces, in lines of at most `width` columns; a word that is
/// longer has a line of its own. One line at least.
std::string wrapped(std::string_view text, std::size_t width);

}  // namespace espalier::report
