#include <fmt/core.h>

#include <algorithm>
#include <array>

#include "tokenizer/regex.hpp"
#include "tokenizer/unicode_categories.hpp"

// oniguruma's document RE describes the one syntax, pcre2pattern(3) the other.

namespace espalier::tokenizer {
namespace {

/// White_Space; \s of PCRE2 has U+180E, too.
constexpr std::string_view kSpaces = R"(\x{09}-\x{0D}\x{20}\x{85}\x{A0}\x{1680}\x{2000}-\x{200A})"
                                     R"(\x{2028}\x{2029}\x{202F}\x{205F}\x{3000})";
/// \w of oniguruma beside letters, marks, letter-like numbers, digits and connecting signs: letters
/// and numbers in circles.
constexpr std::string_view kCircled =
    R"(\x{24B6}-\x{24E9}\x{1F130}-\x{1F149}\x{1F150}-\x{1F169}\x{1F170}-\x{1F189})";
/// And numbers of Latin-1, which it takes from another table outside of classes than within.
constexpr std::string_view kLatin1Numbers = R"(\x{B2}\x{B3}\x{B9}\x{BC}-\x{BE})";
/// General categories. Mn and Mc are left out: one mark has changed from one to the other.
constexpr std::array<std::string_view, 33> kCategories = {
    "L",  "Lu", "Ll", "Lt", "Lm", "Lo", "M",  "N",  "Nd", "Nl", "No",
    "P",  "Pc", "Pd", "Ps", "Pe", "Pi", "Pf", "Po", "S",  "Sm", "Sc",
    "Sk", "So", "Z",  "Zs", "Zl", "Zp", "Me", "Cc", "Cf", "Co", "Cs"};
/// Pairs of letters that are one in some case folding of Unicode: oniguruma finds U+00DF for "ss"
/// in any case, PCRE2 does not.
constexpr std::array<std::string_view, 5> kFoldedPairs = {"ss", "ff", "fi", "fl", "st"};

class Translator {
 public:
  explicit Translator(std::string_view expression) : text_(expression) {}

  std::string translate() {
    while (at_ < text_.size()) element();
    if (depth_ != 0) refuse("a group that is not closed");
    return std::move(out_);
  }

 private:
  template <class... Args>
  [[noreturn]] void refuse(fmt::format_string<Args...> format, Args&&... args) const {
    throw UnsupportedExpression(fmt::format(format, std::forward<Args>(args)...));
  }
  bool next_is(std::string_view what) const { return text_.substr(at_).starts_with(what); }
  char take() {
    if (at_ == text_.size()) refuse("it ends too early");
    return text_[at_++];
  }

  void element() {
    const char c = text_[at_];
    switch (c) {
      case '\\':
        ++at_;
        return escape(/*in_class=*/false);
      case '[':
        ++at_;
        return character_class();
      case '(':
        ++at_;
        return open_group();
      case ')':
        ++at_;
        if (--depth_ < 0) refuse("a group that is not open");
        out_ += ')';
        return quantifier();
      case '|':
      case '^':
      case '$':
        ++at_;
        out_ += c;
        return;
      case '*':
      case '+':
      case '?':
        refuse("{} where there is nothing to repeat", c);
      case '{':
      case '}':
        out_ += '\\';
        return literal();
      default:
        return literal();
    }
  }

  void literal() {
    out_ += take();
    while (at_ < text_.size() && (static_cast<unsigned char>(text_[at_]) & 0xC0) == 0x80)
      out_ += take();
    quantifier();
  }

  /// Also the possessive + and the reluctant ?, where both syntaxes have them.
  void quantifier() {
    if (at_ == text_.size()) return;
    const char c = text_[at_];
    if (c == '*' || c == '+' || c == '?') {
      out_ += take();
      if (next_is("+") || next_is("?")) out_ += take();
    } else if (c == '{') {
      const std::size_t end = text_.find('}', at_);
      const std::string_view count = end == text_.npos ? "" : text_.substr(at_ + 1, end - at_ - 1);
      const std::size_t comma = count.find(',');
      const auto is_number = [](std::string_view n) {
        return !n.empty() && n.size() < 5 &&
               std::ranges::all_of(n, [](char d) { return d >= '0' && d <= '9'; });
      };
      const std::string_view least = count.substr(0, comma);
      const std::string_view most = comma == count.npos ? "" : count.substr(comma + 1);
      const bool is_range = comma != count.npos && (is_number(least) || is_number(most)) &&
                            (least.empty() || is_number(least)) &&
                            (most.empty() || is_number(most));
      if (!is_range && !is_number(count)) return;  // a brace like any other character
      at_ = end + 1;
      out_ += fmt::format("{{{}{}}}", least.empty() ? "0" : "", count);
      // What follows makes a count possessive or reluctant in PCRE2, but not always in Ruby.
      if (next_is("+") || (!is_range && next_is("?"))) refuse("a sign after {{{}}}", count);
      if (next_is("?")) out_ += take();
    } else {
      return;
    }
    if (next_is("*") || next_is("+") || next_is("?") || next_is("{"))
      refuse("a repetition of a repetition");
  }

  void open_group() {
    ++depth_;
    if (!next_is("?")) {
      out_ += '(';
      return;
    }
    for (const std::string_view kind : {"?:", "?=", "?!", "?>", "?<=", "?<!"})
      if (next_is(kind)) {
        at_ += kind.size();
        out_ += '(';
        out_ += kind;
        return;
      }
    if (!next_is("?i:") && !next_is("?i)")) {
      const std::size_t end = text_.find_first_of(":)", at_);
      refuse("the group ({}", text_.substr(at_, end == text_.npos ? end : end - at_ + 1));
    }
    // (?i) reaches to the end of its group in both; beyond "|" only in PCRE2: it is alone then.
    const bool to_the_end = next_is("?i)");
    if (to_the_end && at_ != 1) refuse("(?i) that is not the beginning");
    check_any_case(text_.substr(at_ + 3, to_the_end ? text_.npos : end_of_group() - at_ - 3));
    out_ += to_the_end ? "(?i)" : "(?i:";
    if (to_the_end) --depth_;
    at_ += 3;
  }

  /// Where the group that was just opened is closed; text_.size() when it is not.
  std::size_t end_of_group() const {
    int depth = 1;
    bool in_class = false;
    for (std::size_t i = at_; i < text_.size(); ++i) {
      if (text_[i] == '\\')
        ++i;
      else if (in_class)
        in_class = text_[i] != ']';
      else if (text_[i] == '[')
        in_class = true;
      else if (text_[i] == '(')
        ++depth;
      else if (text_[i] == ')' && --depth == 0)
        return i;
    }
    return text_.size();
  }

  void check_any_case(std::string_view inside) const {
    std::string lower(inside);
    for (char& c : lower) {
      if (static_cast<unsigned char>(c) >= 0x80) refuse("letters beyond ASCII in any case");
      if (c >= 'A' && c <= 'Z') c = static_cast<char>(c + ('a' - 'A'));
    }
    if (lower.find("\\p") != lower.npos) refuse("properties in any case");
    for (const std::string_view pair : kFoldedPairs)
      if (lower.find(pair) != lower.npos) refuse("\"{}\" in any case", pair);
  }

  void character_class() {
    out_ += '[';
    if (next_is("^")) out_ += take();
    if (next_is("]")) refuse("a class that begins with ]");
    follows_set_ = false;
    for (bool is_first = true; !next_is("]"); is_first = false) {
      if (next_is("[")) refuse("a class within a class");
      if (next_is("&&")) refuse("an intersection of classes");
      const bool follows_set = follows_set_;
      follows_set_ = false;
      const char c = take();
      if (c == '\\') {
        escape(/*in_class=*/true);
      } else if (c == '-' && (is_first || next_is("]"))) {
        out_ += "\\-";
      } else {
        if (c == '-' && follows_set) refuse("a range that begins with a set");
        out_ += c;
      }
    }
    out_ += take();
    quantifier();
  }

  /// A set of characters, given as the contents of a class.
  void put_set(std::string_view contents, bool negated, bool in_class) {
    if (!in_class) {
      out_ += fmt::format("[{}{}]", negated ? "^" : "", contents);
      return quantifier();
    }
    if (negated) refuse("a negated set within a class");
    if (out_.ends_with('-') && !out_.ends_with("\\-")) refuse("a range that ends with a set");
    out_ += contents;
    follows_set_ = true;
  }

  void escape(bool in_class) {
    const char c = take();
    switch (c) {
      case 's':
      case 'S':
        return put_set(kSpaces, c == 'S', in_class);
      case 'd':
      case 'D':
        return put_set(members_of("Nd"), c == 'D', in_class);
      case 'w':
      case 'W':
        return put_set(members_of("L") + members_of("M") + members_of("Nl") + members_of("Nd") +
                           members_of("Pc") + std::string(kCircled) +
                           std::string(in_class ? "" : kLatin1Numbers),
                       c == 'W', in_class);
      case 'h':
      case 'H':  // of Ruby: hexadecimal digits
        return put_set("0-9A-Fa-f", c == 'H', in_class);
      case 'p':
      case 'P':
        return property(c == 'P', in_class);
      case 'r':
      case 'n':
      case 't':
      case 'f':
      case 'a':
      case 'e':
        return put_one(fmt::format("\\{}", c), in_class);
      case 'v':
        return put_one("\\x{0B}", in_class);
      case 'x':
        return code_point(in_class, next_is("{") ? braced() : hex_digits(1, 2));
      case 'u':
        return code_point(in_class, hex_digits(4, 4));
      case 'A':
      case 'z':
      case 'Z':
        if (in_class) break;
        out_ += fmt::format("\\{}", c);
        return;
      default:
        if (static_cast<unsigned char>(c) >= 0x80) {
          // A letter of another script after a backslash is that letter.
          --at_;
          std::string letter(1, take());
          while (at_ < text_.size() && (static_cast<unsigned char>(text_[at_]) & 0xC0) == 0x80)
            letter += take();
          return put_one(letter, in_class);
        }
        if ((c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9')) break;
        return put_one(fmt::format("\\{}", c), in_class);
    }
    refuse("\\{}", c);
  }

  void put_one(std::string_view what, bool in_class) {
    out_ += what;
    if (!in_class) quantifier();
  }

  std::string_view hex_digits(std::size_t least, std::size_t most) {
    const std::size_t begin = at_;
    while (at_ < text_.size() && at_ - begin < most &&
           std::string_view("0123456789abcdefABCDEF").find(text_[at_]) != std::string_view::npos)
      ++at_;
    if (at_ - begin < least) refuse("\\x or \\u without its digits");
    return text_.substr(begin, at_ - begin);
  }
  std::string_view braced() {
    ++at_;
    const std::string_view digits = hex_digits(1, 6);
    if (take() != '}') refuse("\\x{{ without }}");
    return digits;
  }
  void code_point(bool in_class, std::string_view digits) {
    // Two digits are a byte in Ruby, a code point in PCRE2: the same below 0x80.
    if (digits.size() <= 2 && std::stoi(std::string(digits), nullptr, 16) >= 0x80 &&
        text_[at_ - 1] != '}')
      refuse("\\x{}", digits);
    put_one(fmt::format("\\x{{{}}}", digits), in_class);
  }

  /// The contents of a class with a general category, newer code points included.
  static std::string members_of(std::string_view category) {
    std::string contents = fmt::format("\\p{{{}}}", category);
    for (const CategoryRange& range : categories_after_unicode_14())
      if (range.category.starts_with(category))
        contents += range.first == range.last
                        ? fmt::format("\\x{{{:X}}}", range.first)
                        : fmt::format("\\x{{{:X}}}-\\x{{{:X}}}", range.first, range.last);
    return contents;
  }

  void property(bool negated, bool in_class) {
    if (take() != '{') refuse("\\p without {{");
    const std::size_t end = text_.find('}', at_);
    if (end == text_.npos) refuse("\\p without }}");
    std::string_view name = text_.substr(at_, end - at_);
    at_ = end + 1;
    const std::string_view whole = name;
    if (name.starts_with('^')) {
      negated = !negated;
      name.remove_prefix(1);
    }
    if (std::ranges::find(kCategories, name) == kCategories.end())
      refuse("the property \\p{{{}}}", whole);
    put_set(members_of(name), negated, in_class);
  }

  std::string_view text_;
  std::size_t at_ = 0;
  std::string out_;
  int depth_ = 0;
  bool follows_set_ = false;  ///< in a class: a set stands before
};

}  // namespace

std::string translate_to_pcre2(std::string_view expression) {
  return Translator(expression).translate();
}

std::string expression_of(std::string_view text) {
  std::string expression;
  for (const char c : text) {
    if (std::string_view(R"(\.+*?()|[]{}^$#&-~)").find(c) != std::string_view::npos)
      expression += '\\';
    expression += c;
  }
  return expression;
}

}  // namespace espalier::tokenizer
