#pragma once
#include <cstdint>
#include <memory>
#include <optional>
#include <stdexcept>
#include <string>
#include <string_view>

namespace espalier::tokenizer {

/// An expression that would not find what it finds in Hugging Face `tokenizers`; what() is why.
class UnsupportedExpression : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
};

/// An expression in the syntax of tokenizer.json (oniguruma's Ruby syntax) for PCRE2: constructs
/// that both read alike are passed on, those that they read differently are spelled out (\s, \w,
/// \h, properties of code points that are newer than the library's Unicode). Throws
/// UnsupportedExpression that names what is neither.
std::string translate_to_pcre2(std::string_view expression);
/// An expression that matches `text` and nothing else.
std::string expression_of(std::string_view text);

/// A compiled expression. Finds the matches that oniguruma's find_iter finds, which Hugging Face
/// `tokenizers` uses. Thread-safe when each thread has its own Scratch.
class Regex {
 public:
  /// Throws UnsupportedExpression.
  explicit Regex(std::string_view expression);
  ~Regex();
  Regex(const Regex&) = delete;
  Regex& operator=(const Regex&) = delete;

  /// Working memory of one thread, for any expression.
  class Scratch {
   public:
    Scratch();
    ~Scratch();
    Scratch(const Scratch&) = delete;
    Scratch& operator=(const Scratch&) = delete;

   private:
    friend class Regex;
    struct Implementation;
    std::unique_ptr<Implementation> implementation_;
  };

  struct Match {
    std::size_t begin, end;  ///< bytes
  };
  /// The matches of valid UTF-8 in order; an empty one is not found where the last one ends.
  class Search {
   public:
    Search(const Regex& regex, std::string_view text, Scratch& scratch)
        : regex_(regex), text_(text), scratch_(scratch) {}
    std::optional<Match> next();

   private:
    const Regex& regex_;
    std::string_view text_;
    Scratch& scratch_;
    std::size_t at_ = 0;
    std::optional<std::size_t> last_end_;
  };

 private:
  std::optional<Match> first_from(std::string_view text, std::size_t from, Scratch& scratch) const;
  struct Implementation;
  std::unique_ptr<Implementation> implementation_;
};

}  // namespace espalier::tokenizer
