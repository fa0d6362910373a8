#pragma once
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "tokenizer/regex.hpp"
#include "tokenizer/unicode.hpp"

namespace espalier::tokenizer {

/// One step of a normaliser, which changes the text between the added tokens that are looked for in
/// the text as it stands.
struct NormalizerStep {
  enum class Kind : std::uint8_t {
    nfc,
    prepend,  ///< content before any text that is not empty
    replace,  ///< pattern, or every match of regex, by content
  };
  Kind kind = Kind::nfc;
  std::string pattern = {};  ///< as the file has it
  std::string content = {};
  std::shared_ptr<const Regex> regex = {};  ///< nullptr: pattern is the text itself
};

/// Appends `text` to `out` with `content` for every occurrence of `pattern`, which is not empty.
void replace_all(std::string_view text, std::string_view pattern, std::string_view content,
                 std::string& out);

/// For the identity of a tokenizer.
std::string name_of(const NormalizerStep& step);

/// `text` after the steps. Where a step changed it, it lies in `buffer`, and is valid as long as
/// that is; valid UTF-8 stays valid.
class Normalization {
 public:
  std::string_view apply(std::span<const NormalizerStep> steps, std::string_view text,
                         const UnicodeTable& table, Regex::Scratch& scratch);

 private:
  std::string text_, other_;
};

/// What is put before a text and in place of its blanks after that (Hugging Face's Metaspace; with
/// a blank as the mark ByteLevel's add_prefix_space).
struct PrefixMark {
  enum class Scheme : std::uint8_t {
    never,
    first,  ///< only before text that the document begins with
    always,
  };
  std::string mark = {};  ///< empty: nothing is done
  Scheme scheme = Scheme::never;
};
/// `text` itself, or what became of it in `buffer`.
std::string_view with_mark(const PrefixMark& prefix, std::string_view text, bool begins_document,
                           std::string& buffer);

}  // namespace espalier::tokenizer
