#include <catch2/catch.hpp>
#include <string>

#include "report/chart_frame.hpp"
#include "report/svg.hpp"
#include "report/unicode.hpp"

using namespace espalier::report;

TEST_CASE("text becomes UTF-8 without control characters") {
  CHECK(printable("a\tb\nc\x1b") == "a b c ");
  CHECK(printable("é → 中") == "é → 中");
  CHECK(printable("r\xE9sum\xE9") == "r\xEF\xBF\xBDsum\xEF\xBF\xBD");
  CHECK(printable("\xEF\xBF\xBE") == "\xEF\xBF\xBD");  // U+FFFE
  CHECK(printable(std::string_view("a\0b", 3)) == "a b");
}

TEST_CASE("columns are those of a terminal: wide characters take two, combining marks none") {
  CHECK(columns_of("") == 0);
  CHECK(columns_of("GiB") == 3);
  CHECK(columns_of("1.36×10²¹") == 9);
  CHECK(columns_of("中文") == 4);
  CHECK(columns_of("e\xCC\x81") == 1);  // e and a combining acute accent
  CHECK(columns_of("\xFF") == 1);
}

TEST_CASE("words are wrapped at spaces, and a word that is longer stands alone") {
  CHECK(wrapped("tokens per parameter", 10) == "tokens per\nparameter");
  CHECK(wrapped("tokens per parameter", 9) == "tokens\nper\nparameter");
  CHECK(wrapped("a abcdefghij b", 4) == "a\nabcdefghij\nb");
  CHECK(wrapped("×× ×× ××", 5) == "×× ××\n××");
  CHECK(wrapped("  a   b ", 80) == "a b");
  CHECK(wrapped("", 5).empty());
}

TEST_CASE("what XML reads as its own is escaped, and coordinates are short") {
  CHECK(xml_escaped("a < b & \"c\" > 'd'") == "a &lt; b &amp; &quot;c&quot; &gt; &#39;d&#39;");
  CHECK(xml_escaped("\x01\xFF") == " \xEF\xBF\xBD");
  CHECK(pixels(12.0) == "12");
  CHECK(pixels(12.5) == "12.5");
  CHECK(pixels(12.345678) == "12.35");
  CHECK(pixels(-0.001) == "0");
  CHECK(pixels(100.0) == "100");
}

TEST_CASE("text is cut to a width in pixels, at characters") {
  CHECK(shortened("short", 100) == "short");
  const std::string cut = shortened("tensor 2, pipeline 2, ×××××××××", 80);
  CHECK(text_width(cut, 12) <= 80);
  CHECK(cut.ends_with("…"));
  CHECK(printable(shortened("××××××××××××", 40)).find("\xEF\xBF\xBD") == std::string::npos);
  CHECK(lines_of("one two three", 45, 12, 3).size() == 2);
  CHECK(lines_of("one two three four five six", 45, 12, 2).size() == 2);
  CHECK(lines_of("one two three four five six", 45, 12, 2)[1].ends_with("…"));
}
