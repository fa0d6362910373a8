#include "tokenization/token_documents.hpp"

#include <algorithm>

#include "base/error.hpp"

namespace espalier::tokenization {
namespace {

using Format = io::ForeignTokens::Format;

/// A name without its number and the number, as digits; nothing when there is none.
struct Numbered {
  std::string before, digits;
};
Numbered numbered(const std::filesystem::path& path) {
  const std::string stem = path.stem().string();
  const std::size_t last = stem.find_last_not_of("0123456789");
  const std::size_t begin = last == std::string::npos ? 0 : last + 1;
  return {(path.parent_path() / stem.substr(0, begin)).string(), stem.substr(begin)};
}

/// Whether llm.c's writer goes on with `next` after `file`.
bool is_next_of(const std::filesystem::path& file, const std::filesystem::path& next) {
  const Numbered a = numbered(file), b = numbered(next);
  constexpr std::size_t kMostDigits = 18;  // fit into 64 bits
  if (a.before != b.before || a.digits.empty() || b.digits.empty() ||
      a.digits.size() > kMostDigits || b.digits.size() > kMostDigits)
    return false;
  return std::stoull(a.digits) + 1 == std::stoull(b.digits);
}

}  // namespace

std::uint64_t TokenDocument::num_tokens() const {
  std::uint64_t count = 0;
  for (const Piece& piece : pieces) count += piece.tokens.size();
  return count;
}

std::int64_t TokenDocument::token(std::uint64_t i) const {
  for (const Piece& piece : pieces) {
    if (i < piece.tokens.size()) return piece.tokens[i];
    i -= piece.tokens.size();
  }
  ESPALIER_ASSERT(false, "token {} behind the end", i);
  return 0;
}

TokenDocuments::TokenDocuments(std::vector<io::ForeignTokens> files,
                               const train::DocumentMarks& marks)
    : files_(std::move(files)) {
  const std::uint32_t separator = *marks.separator;
  const std::uint32_t begin = marks.begin.size() == 1 ? marks.begin.front() : separator;
  delimiter_ = begin;
  for (const auto& file : files_) {
    if (file.format != Format::llmc || begin == separator) continue;
    const io::LlmcTokens opened(file.data);
    if (opened.tokens().empty()) continue;
    const std::int64_t first = opened.tokens()[0];
    if (first != begin && first != separator) continue;
    delimiter_ = static_cast<std::uint32_t>(first);
    break;
  }
  keeps_delimiter_ = delimiter_ != separator;
}

bool TokenDocuments::next(TokenDocument& document) {
  document.pieces.clear();
  while (file_ < files_.size()) {
    document.file = file_;
    const bool found = files_[file_].format == Format::megatron ? next_of_megatron(document)
                                                                : next_of_llmc(document);
    if (found) return true;
    megatron_.reset();
    llmc_.reset();
    ++file_;
  }
  return false;
}

bool TokenDocuments::next_of_megatron(TokenDocument& document) {
  const io::ForeignTokens& file = files_[file_];
  if (megatron_ == nullptr) {
    megatron_ = std::make_shared<io::MegatronTokens>(file.index, file.data);
    at_ = 0;
  }
  if (at_ == megatron_->num_documents()) return false;
  const io::PackedTokens tokens = megatron_->document(at_);
  if (!tokens.empty())
    document.pieces.push_back({tokens, megatron_->first_token(at_), file.data, megatron_});
  check_length(document);
  ++at_;
  return true;
}

void TokenDocuments::open_llmc() {
  llmc_ = std::make_shared<io::LlmcTokens>(files_[file_].data);
  at_ = 0;
  const io::PackedTokens tokens = llmc_->tokens();
  if (tokens.find(delimiter_, 0) == tokens.size()) without_.push_back(files_[file_].data);
}

bool TokenDocuments::goes_on_in_next_file() const {
  if (file_ + 1 == files_.size()) return false;
  const io::ForeignTokens& next = files_[file_ + 1];
  if (next.format != Format::llmc || !is_next_of(files_[file_].data, next.data)) return false;
  const io::LlmcTokens opened(next.data);
  return !opened.tokens().empty() && opened.tokens()[0] != delimiter_;
}

bool TokenDocuments::next_of_llmc(TokenDocument& document) {
  if (llmc_ == nullptr) {
    open_llmc();
    if (!llmc_->tokens().empty() && llmc_->tokens()[0] != delimiter_) ++num_cut_;
  }
  for (;;) {
    const io::PackedTokens tokens = llmc_->tokens();
    // In front of the first document and, unless it is part of it, of any other.
    const bool is_at_delimiter = at_ < tokens.size() && tokens[at_] == delimiter_;
    if (at_ == 0 && is_at_delimiter && !keeps_delimiter_) ++at_;
    if (at_ >= tokens.size()) return !document.pieces.empty();
    const std::uint64_t end =
        tokens.find(delimiter_, at_ + (is_at_delimiter && keeps_delimiter_ ? 1 : 0));
    if (end > at_)
      document.pieces.push_back({tokens.part(at_, end - at_), at_, files_[file_].data, llmc_});
    check_length(document);
    const bool is_cut = end == tokens.size();
    at_ = is_cut || keeps_delimiter_ ? end : end + 1;
    if (!is_cut || !goes_on_in_next_file()) return true;
    ++file_;
    open_llmc();
  }
}

void TokenDocuments::check_length(const TokenDocument& document) const {
  const std::uint64_t count = document.num_tokens();
  if (count <= kMostTokens) return;
  const TokenDocument::Piece& first = document.pieces.front();
  fail(ExitStatus::bad_data,
       "{}: the document that begins with token {} has at least {} tokens, more than the {} that "
       "are taken for one. Is data.document_separator_token the token between its documents?",
       first.file.string(), first.first_token, count, kMostTokens);
}

}  // namespace espalier::tokenization
