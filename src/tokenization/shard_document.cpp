#include "tokenization/shard_document.hpp"

#include <algorithm>

#include "base/error.hpp"

namespace espalier::tokenization {

Around around(const TokenDocument& document, const train::DocumentMarks& marks) {
  Around found;
  const std::uint64_t count = document.num_tokens();
  const std::uint64_t num_begin = marks.begin.size();
  found.separator = count > 0 && document.token(count - 1) == *marks.separator;
  found.num_text = count - (found.separator ? 1 : 0);
  found.begin = num_begin > 0 && found.num_text >= num_begin;
  for (std::uint64_t i = 0; found.begin && i < num_begin; ++i)
    found.begin = document.token(i) == marks.begin[i];
  found.num_text -= found.begin ? num_begin : 0;
  found.num_tokens = num_begin + found.num_text + 1;
  return found;
}

ShardDocument::ShardDocument(const tokenizer::Tokenizer& tokenizer,
                             const train::DocumentMarks& marks, std::string tokenizer_file)
    : tokenizer_(tokenizer), marks_(marks), tokenizer_file_(std::move(tokenizer_file)) {
  for (std::uint32_t id = 0; id < tokenizer.size(); ++id)
    bytes_of_id_.push_back(static_cast<std::uint32_t>(
        tokenizer.decode({&id, 1}, tokenizer::TextPlace::continued).size()));
}

void ShardDocument::take(const TokenDocument& document, const Around& has) {
  tokens_.clear();
  tokens_.reserve(has.num_tokens);
  if (!has.begin) tokens_ = marks_.begin;
  for (const TokenDocument::Piece& piece : document.pieces) {
    const std::uint64_t end = piece.tokens.append_to(tokens_, tokenizer_.size());
    if (end < piece.tokens.size()) refuse(piece, end);
  }
  if (!has.separator) tokens_.push_back(*marks_.separator);
  ESPALIER_ASSERT(tokens_.size() == has.num_tokens);
  text_bytes_ = count_bytes(std::span(tokens_).subspan(marks_.begin.size(), has.num_text));
}

/// Without making the text.
std::uint64_t ShardDocument::count_bytes(std::span<const std::uint32_t> text) const {
  // A tokenizer may put a blank before a text, which is none of its bytes.
  const auto head = text.first(std::min<std::size_t>(text.size(), 4));
  std::uint64_t sum = tokenizer_.decode(head).size();
  for (const std::uint32_t id : text.subspan(head.size())) sum += bytes_of_id_[id];
  return sum;
}

void ShardDocument::refuse(const TokenDocument::Piece& piece, std::uint64_t i) const {
  const std::int64_t id = piece.tokens[i];
  const std::uint32_t swapped = __builtin_bswap32(static_cast<std::uint32_t>(id));
  const bool may_be_swapped =
      bytes_of(piece.tokens.type()) == sizeof(swapped) && swapped < tokenizer_.size();
  fail(ExitStatus::bad_data,
       "{}: token {} has id {}, and data.tokenizer = \"{}\" has ids below {}: name the tokenizer "
       "that made these tokens{}",
       piece.file.string(), piece.first_token + i, id, tokenizer_file_, tokenizer_.size(),
       may_be_swapped ? " (or are the bytes in the order of a big-endian machine?)" : "");
}

}  // namespace espalier::tokenization
