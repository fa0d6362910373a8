#pragma once
#include <cstring>
#include <memory>
#include <span>
#include <string>
#include <string_view>

#include "tokenizer/pre_tokenizer.hpp"
#include "tokenizer/regex.hpp"

namespace espalier::tokenizer {

/// What becomes of the matches of a step, and of the text between them (Hugging Face's
/// SplitDelimiterBehavior).
enum class SplitBehavior : std::uint8_t {
  isolated,              ///< each is a piece
  removed,               ///< matches are dropped
  contiguous,            ///< neighbouring matches are one piece
  merged_with_previous,  ///< a match ends the text before it
  merged_with_next,      ///< a match begins the text after it
};

/// One step of a pre-tokeniser: cuts every piece of the step before it.
struct SplitStep {
  enum class Kind : std::uint8_t {
    scanner,  ///< one of the expressions that are written by hand
    digits,   ///< every character of \p{N} is a match
    regex,    ///< any other expression
    marks,    ///< before each run of U+2581, the sign for a blank (see Tokenizer)
  };
  Kind kind = Kind::scanner;
  PreTokenizer scanner = PreTokenizer::qwen;
  std::shared_ptr<const Regex> regex = {};
  SplitBehavior behavior = SplitBehavior::isolated;
  bool invert = false;          ///< matches and what is between them change their parts
  std::string expression = {};  ///< of regex, as the file has it
};

/// For the identity of a tokenizer: its kind, behaviour and expression.
std::string name_of(const SplitStep& step);

namespace detail {

/// Calls take(begin, end, is_match) for the matches of a step and for what lies between them.
template <class Take>
void for_each_match(const SplitStep& step, std::string_view text, const UnicodeTable& table,
                    Regex::Scratch& scratch, Take&& take) {
  const char* end = text.data() + text.size();
  const char* done = text.data();
  const auto match = [&](const char* begin, const char* stop) {
    if (begin != done) take(done, begin, step.invert);
    take(begin, stop, !step.invert);
    done = stop;
  };
  if (step.kind == SplitStep::Kind::digits) {
    const Scanner scan(end, table);
    for (const char* p = done; p < end;) {
      const Scanner::Char c = scan.at(p);
      if (c.kind == kNumber) match(p, c.next);
      p = c.next;
    }
  } else {
    Regex::Search search(*step.regex, text, scratch);
    while (const auto found = search.next())
      match(text.data() + found->begin, text.data() + found->end);
  }
  if (done != end) take(done, end, step.invert);
}

/// The pieces of one step, in order.
template <class Emit>
void for_each_piece_of(const SplitStep& step, std::string_view text, const UnicodeTable& table,
                       Regex::Scratch& scratch, Emit&& emit) {
  const char* end = text.data() + text.size();
  if (step.kind == SplitStep::Kind::scanner) {
    const Scanner scan(end, table);
    for (const char* p = text.data(); p < end;) {
      const char* q = end_of_piece(step.scanner, scan, p);
      emit(p, q);
      p = q;
    }
    return;
  }
  if (step.kind == SplitStep::Kind::marks) {
    constexpr std::string_view kMark = "\xE2\x96\x81";
    std::size_t begin = 0;
    for (std::size_t at = text.find(kMark); at != text.npos; at = text.find(kMark, at)) {
      if (at != begin) emit(text.data() + begin, text.data() + at);
      begin = at;
      while (text.substr(at).starts_with(kMark)) at += kMark.size();
    }
    if (begin != text.size()) emit(text.data() + begin, end);
    return;
  }
  // The piece that may yet grow; what begins it is a match or not.
  const char* begin = nullptr;
  const char* stop = nullptr;
  bool was_match = false;
  const auto flush = [&] {
    if (begin != stop) emit(begin, stop);
    begin = nullptr;
  };
  for_each_match(step, text, table, scratch, [&](const char* from, const char* to, bool is_match) {
    bool joins = false;
    switch (step.behavior) {
      case SplitBehavior::isolated:
        break;
      case SplitBehavior::removed:
        if (is_match) return;
        break;
      case SplitBehavior::contiguous:
        joins = begin != nullptr && is_match == was_match;
        break;
      case SplitBehavior::merged_with_previous:
        joins = begin != nullptr && is_match && !was_match;
        break;
      case SplitBehavior::merged_with_next:
        joins = begin != nullptr && !is_match && was_match;
        break;
    }
    was_match = is_match;
    if (!joins) {
      if (begin != nullptr) flush();
      begin = from;
    }
    stop = to;
  });
  if (begin != nullptr) flush();
}

}  // namespace detail

/// Calls sink(begin, end) for every piece of valid UTF-8, in order; without steps the text is one.
template <class Sink>
void for_each_piece(std::span<const SplitStep> steps, std::string_view text,
                    const UnicodeTable& table, Regex::Scratch& scratch, Sink& sink) {
  if (steps.empty()) return sink(text.data(), text.data() + text.size());
  const SplitStep& step = steps.front();
  if (steps.size() == 1) return detail::for_each_piece_of(step, text, table, scratch, sink);
  detail::for_each_piece_of(step, text, table, scratch, [&](const char* begin, const char* end) {
    const std::string_view piece(begin, static_cast<std::size_t>(end - begin));
    for_each_piece(steps.subspan(1), piece, table, scratch, sink);
  });
}

}  // namespace espalier::tokenizer
