#include "tokenizer/regex.hpp"

#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

#include <fmt/core.h>

#include "base/error.hpp"
#include "tokenizer/unicode.hpp"

namespace espalier::tokenizer {
namespace {

std::string message_of(int code) {
  PCRE2_UCHAR buffer[256];
  pcre2_get_error_message(code, buffer, sizeof buffer);
  return reinterpret_cast<const char*>(buffer);
}

template <auto Free>
struct Freed {
  template <class T>
  void operator()(T* p) const {
    Free(p);
  }
};

// A class with thousands of characters before what follows it fails may go back over all of them:
// the stack of compiled expressions grows up to here, and not before it is needed.
constexpr std::size_t kFirstStackBytes = std::size_t{64} << 10;
constexpr std::size_t kMostStackBytes = std::size_t{256} << 20;

}  // namespace

struct Regex::Implementation {
  std::unique_ptr<pcre2_code, Freed<pcre2_code_free>> code;
  std::string expression;
  bool is_compiled = false;  // to machine code
};

struct Regex::Scratch::Implementation {
  std::unique_ptr<pcre2_match_data, Freed<pcre2_match_data_free>> data{
      pcre2_match_data_create(1, nullptr)};
  std::unique_ptr<pcre2_match_context, Freed<pcre2_match_context_free>> context{
      pcre2_match_context_create(nullptr)};
  std::unique_ptr<pcre2_jit_stack, Freed<pcre2_jit_stack_free>> stack{
      pcre2_jit_stack_create(kFirstStackBytes, kMostStackBytes, nullptr)};
};

Regex::Scratch::Scratch() : implementation_(std::make_unique<Implementation>()) {
  require(implementation_->data != nullptr && implementation_->context != nullptr,
          ExitStatus::internal, "no memory for regular expressions");
  pcre2_jit_stack_assign(implementation_->context.get(), nullptr, implementation_->stack.get());
  pcre2_set_match_limit(implementation_->context.get(), 0xFFFFFFFFu);
}
Regex::Scratch::~Scratch() = default;

Regex::Regex(std::string_view expression) : implementation_(std::make_unique<Implementation>()) {
  const std::string translated = translate_to_pcre2(expression);
  implementation_->expression = expression;
  std::unique_ptr<pcre2_compile_context, Freed<pcre2_compile_context_free>> context(
      pcre2_compile_context_create(nullptr));
  pcre2_set_newline(context.get(), PCRE2_NEWLINE_LF);
  int code = 0;
  PCRE2_SIZE offset = 0;
  // In Ruby ^ and $ stand for the ends of lines.
  implementation_->code.reset(
      pcre2_compile(reinterpret_cast<PCRE2_SPTR>(translated.data()), translated.size(),
                    PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C, &code,
                    &offset, context.get()));
  if (implementation_->code == nullptr) throw UnsupportedExpression(message_of(code));
  implementation_->is_compiled =
      pcre2_jit_compile(implementation_->code.get(), PCRE2_JIT_COMPLETE) == 0;
}
Regex::~Regex() = default;

std::optional<Regex::Match> Regex::first_from(std::string_view text, std::size_t from,
                                              Scratch& scratch) const {
  const auto* subject = reinterpret_cast<PCRE2_SPTR>(text.data());
  const Scratch::Implementation& s = *scratch.implementation_;
  const int code = implementation_->is_compiled
                       ? pcre2_jit_match(implementation_->code.get(), subject, text.size(), from, 0,
                                         s.data.get(), s.context.get())
                       : pcre2_match(implementation_->code.get(), subject, text.size(), from,
                                     PCRE2_NO_UTF_CHECK, s.data.get(), s.context.get());
  if (code == PCRE2_ERROR_NOMATCH) return std::nullopt;
  require(code >= 0, ExitStatus::bad_data,
          "the pre_tokenizer's expression {} fails on a piece of {} bytes: {}",
          implementation_->expression, text.size(), message_of(code));
  const PCRE2_SIZE* places = pcre2_get_ovector_pointer(s.data.get());
  return Match{places[0], places[1]};
}

std::optional<Regex::Match> Regex::Search::next() {
  while (at_ <= text_.size()) {
    const std::optional<Match> match = regex_.first_from(text_, at_, scratch_);
    if (!match) break;
    if (match->begin == match->end && last_end_ == match->end) {
      // As oniguruma's iterator: on by a character, so that the search ends.
      if (at_ == text_.size()) break;
      at_ += static_cast<std::size_t>(decode_utf8(text_.data() + at_).num_bytes);
      continue;
    }
    at_ = match->end;
    last_end_ = match->end;
    return match;
  }
  return std::nullopt;
}

}  // namespace espalier::tokenizer
