#include <catch2/catch.hpp>
#include <vector>

#include "tokenizer/regex.hpp"

namespace espalier::tokenizer {
namespace {

using Catch::Matchers::Contains;

/// The matches, with "|" between them.
std::string matches(const std::string& expression, std::string_view text) {
  const Regex regex(expression);
  Regex::Scratch scratch;
  Regex::Search search(regex, text, scratch);
  std::string joined;
  while (const auto found = search.next())
    joined += std::string(text.substr(found->begin, found->end - found->begin)) + "|";
  return joined;
}

std::string refusal(const std::string& expression) {
  try {
    Regex regex(expression);
  } catch (const UnsupportedExpression& error) {
    return error.what();
  }
  return "accepted";
}

}  // namespace

// What oniguruma finds was found with the Split of Hugging Face's tokenizers 0.23.3.
TEST_CASE("expressions find what oniguruma finds where PCRE2 alone would not", "[regex]") {
  // U+180E is no white space, U+0085 is.
  CHECK(matches("\\s+", "a \xE1\xA0\x8E\xC2\x85 b") == " |\xC2\x85 |");
  CHECK(matches("[^\\s]+", "a\xE1\xA0\x8E b") == "a\xE1\xA0\x8E|b|");
  CHECK(matches("\\w+", "a\xCC\x81_7-\xE2\x92\xB6\xC2\xBD.\xE2\x80\x8C") ==
        "a\xCC\x81_7|\xE2\x92\xB6\xC2\xBD|");
  // Within a class the numbers of Latin-1 are no part of words.
  CHECK(matches("[\\w]+", "a\xC2\xBD\xE2\x92\xB6\xC2\xB2 ") == "a|\xE2\x92\xB6|");
  CHECK(matches("[^\\w\\s]+", "a\xC2\xBD\xC2\xB9 ") == "\xC2\xBD\xC2\xB9|");
  CHECK(matches("\\h+", "09afAFg\t") == "09afAF|");
  CHECK(matches("\\d", "7\xD9\xA3\xE2\x85\xA7") == "7|\xD9\xA3|");
  // Lines: $ and ^ stand at their ends, \z only at the text's.
  CHECK(matches("a$", "a\na") == "a|a|");
  CHECK(matches("^a", "a\na") == "a|a|");
  CHECK(matches("a\\z", "a\na") == "a|");
  CHECK(matches(".+", "a\rb\nc") == "a\rb|c|");
  // Letters and numbers of Unicode 15 and 16.
  CHECK(matches("\\p{Lo}", "\xF0\x90\x97\x80\xF0\xAE\xAF\xB0") ==
        "\xF0\x90\x97\x80|\xF0\xAE\xAF\xB0|");
  CHECK(matches("[\\p{Lu}x]+", "\xE1\xB2\x89x\xE1\xB2\x8A") == "\xE1\xB2\x89x|");
  CHECK(matches("\\P{L}+", "a\xF0\x90\x97\x80.") == ".|");
  CHECK(matches("\\p{^L}", "a.") == ".|");
}

TEST_CASE("any case folds s and k as oniguruma does", "[regex]") {
  CHECK(matches("(?i:'s|'LL)", "'S'\xC5\xBF'll'Ls") == "'S|'\xC5\xBF|'ll|");
  CHECK(matches("(?i)k", "kK\xE2\x84\xAA") == "k|K|\xE2\x84\xAA|");
}

TEST_CASE("empty matches are found once and end the search", "[regex]") {
  CHECK(matches("x*", "axb") == "|x||");
  CHECK(matches("(?=b)", "abb") == "||");
  CHECK(matches("", "\xE4\xB8\xAD") == "||");
}

TEST_CASE("quantifiers, groups and classes that both syntaxes share are passed on", "[regex]") {
  CHECK(matches("a++b?", "aab") == "aab|");
  CHECK(matches("a{2}|b{1,2}?|c{2,}", "aaabbccc") == "aa|b|b|ccc|");
  CHECK(matches("a{,2}b", "aaab") == "aab|");
  CHECK(matches("x{y}|x{,}", "x{y}x{,}") == "x{y}|x{,}|");
  CHECK(matches("(?>a|ab)c|(ab)(?:c)", "abc") == "abc|");
  CHECK(matches("(?<=a)b|c(?!d)", "abcdce") == "b|c|");
  CHECK(matches("[a\\-\\]x-z-]+", "a-]yw") == "a-]y|");
  CHECK(matches("[-a]+|[\\w-]+.", "-ab-c.") == "-a|b-c.|");
  CHECK(matches("\\x41\\x{4e2d}\\u0042{|\\.\\/",
                "A\xE4\xB8\xAD"
                "B{") ==
        "A\xE4\xB8\xAD"
        "B{|");
}

TEST_CASE("what the two syntaxes read differently is refused by name", "[regex]") {
  for (const auto& [expression, word] :
       std::vector<std::pair<std::string, std::string>>{{"\\bx", "\\b"},
                                                        {"\\Gx", "\\G"},
                                                        {"\\Rx", "\\R"},
                                                        {"(a)\\1", "\\1"},
                                                        {"\\p{Han}", "\\p{Han}"},
                                                        {"\\p{Mn}", "\\p{Mn}"},
                                                        {"[[:alpha:]]", "within a class"},
                                                        {"[a-z&&[^aeiou]]", "intersection"},
                                                        {"[\\S]", "negated"},
                                                        {"[a-\\d]", "ends with a set"},
                                                        {"[\\w-.]", "begins with a set"},
                                                        {"(?m:x)", "(?m:"},
                                                        {"(?<name>x)", "(?<name>x)"},
                                                        {"x(?i)y", "(?i)"},
                                                        {"(?i:stra\xC3\x9F"
                                                         "e)",
                                                         "beyond ASCII"},
                                                        {"(?i:ss)", "\"ss\""},
                                                        {"(?i:\\p{Lu})", "properties in any case"},
                                                        {"a{1,3}+", "{1,3}"},
                                                        {"a{2}?", "{2}"},
                                                        {"a**", "repetition of a repetition"},
                                                        {"*a", "nothing to repeat"},
                                                        {"(a", "not closed"},
                                                        {"a)", "not open"},
                                                        {"[a", "ends too early"},
                                                        {"a\\", "ends too early"},
                                                        {"\\p{L", "without }"},
                                                        {"\\xC3", "\\xC3"},
                                                        {"(?<=a+)b", "lookbehind"}}) {
    INFO(expression);
    CHECK_THAT(refusal(expression), Contains(word));
  }
}

TEST_CASE("the expression of a text matches it and nothing else", "[regex]") {
  const std::string text = "a.*b[0]{1}^$|(x)\\?+-&#~";
  CHECK(matches(expression_of(text), text) == text + "|");
  CHECK(matches(expression_of("."), "a") == "");
}

}  // namespace espalier::tokenizer
