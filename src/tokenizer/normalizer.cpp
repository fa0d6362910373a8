#include "tokenizer/normalizer.hpp"

#include <fmt/core.h>

namespace espalier::tokenizer {

void replace_all(std::string_view text, std::string_view pattern, std::string_view content,
                 std::string& out) {
  std::size_t done = 0;
  for (std::size_t at = text.find(pattern); at != text.npos;
       at = text.find(pattern, at + pattern.size())) {
    out += text.substr(done, at - done);
    out += content;
    done = at + pattern.size();
  }
  out += text.substr(done);
}

std::string name_of(const NormalizerStep& step) {
  switch (step.kind) {
    case NormalizerStep::Kind::nfc:
      return "nfc";
    case NormalizerStep::Kind::prepend:
      return fmt::format("prepend {}", step.content);
    case NormalizerStep::Kind::replace:
      return fmt::format("replace {} {} by {}", step.regex ? "regex" : "text", step.pattern,
                         step.content);
  }
  return "";
}

std::string_view Normalization::apply(std::span<const NormalizerStep> steps, std::string_view text,
                                      const UnicodeTable& table, Regex::Scratch& scratch) {
  for (const NormalizerStep& step : steps) {
    if (step.kind == NormalizerStep::Kind::nfc) {
      if (is_surely_nfc(text, table)) continue;
      normalize_nfc(text, table, other_);
    } else {
      other_.clear();
      if (step.kind == NormalizerStep::Kind::prepend) {
        if (!text.empty()) other_ += step.content;
        other_ += text;
      } else if (step.regex == nullptr) {
        replace_all(text, step.pattern, step.content, other_);
      } else {
        std::size_t done = 0;
        Regex::Search search(*step.regex, text, scratch);
        while (const auto match = search.next()) {
          other_ += text.substr(done, match->begin - done);
          other_ += step.content;
          done = match->end;
        }
        other_ += text.substr(done);
      }
    }
    text_.swap(other_);
    text = text_;
  }
  return text;
}

std::string_view with_mark(const PrefixMark& prefix, std::string_view text, bool begins_document,
                           std::string& buffer) {
  if (prefix.mark.empty()) return text;
  buffer.clear();
  const bool has_scheme = prefix.scheme == PrefixMark::Scheme::always ||
                          (prefix.scheme == PrefixMark::Scheme::first && begins_document);
  if (has_scheme && !text.starts_with(prefix.mark) && !text.starts_with(' ')) buffer = prefix.mark;
  if (prefix.mark == " ") {
    if (buffer.empty()) return text;
    buffer += text;
  } else {
    replace_all(text, " ", prefix.mark, buffer);
  }
  return buffer;
}

}  // namespace espalier::tokenizer
