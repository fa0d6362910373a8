#pragma once
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <vector>

#include "io/foreign_tokens.hpp"
#include "io/llmc_tokens.hpp"
#include "io/megatron_tokens.hpp"
#include "train/document_marks.hpp"

namespace espalier::tokenization {

/// A document as the files have it.
struct TokenDocument {
  struct Piece {
    io::PackedTokens tokens;
    std::uint64_t first_token = 0;      ///< of them, among those of the file
    std::filesystem::path file;         ///< where they are, for messages
    std::shared_ptr<const void> owner;  ///< keeps the file mapped
  };
  std::vector<Piece> pieces;  ///< one a file; none is empty
  std::size_t file = 0;       ///< where it begins, among the files that are read

  std::uint64_t num_tokens() const;
  std::int64_t token(std::uint64_t i) const;
};

/// All documents of token files, in order. Where a document begins, Megatron's index says. In files
/// of llm.c a token does, which stands in front of every document:
///   what data.begin_of_document means, when it is one token and not the separator; it is part of
///   the document (llm.c puts <|begin_of_text|> there for Llama 3);
///   else the separator, which is not.
/// Which of the two, the first file decides that begins with either. A document that goes on in the
/// next file is one document, if that file's name has the next number (llm.c's writer cuts where a
/// file is full).
class TokenDocuments {
 public:
  TokenDocuments(std::vector<io::ForeignTokens> files, const train::DocumentMarks& marks);
  /// The next document, perhaps without a token; false after the last. Throws Error (bad_data) as
  /// the files do, and for a document of more than kMostTokens.
  bool next(TokenDocument& document);

  /// No document is longer: 1 GiB of ids. It is held in memory as a whole.
  static constexpr std::uint64_t kMostTokens = std::uint64_t{1} << 28;

  const std::vector<io::ForeignTokens>& files() const { return files_; }
  /// The token that documents of llm.c's files begin with.
  std::uint32_t delimiter() const { return delimiter_; }
  /// Files of llm.c that begin within a document whose beginning is not there, so far.
  std::uint64_t num_cut() const { return num_cut_; }
  /// Files of llm.c, of any length, without the delimiter, so far.
  const std::vector<std::filesystem::path>& without_delimiter() const { return without_; }

 private:
  bool next_of_megatron(TokenDocument& document);
  bool next_of_llmc(TokenDocument& document);
  void open_llmc();
  bool goes_on_in_next_file() const;
  void check_length(const TokenDocument& document) const;

  std::vector<io::ForeignTokens> files_;
  std::uint32_t delimiter_ = 0;
  bool keeps_delimiter_ = false;  // it is part of the document
  std::size_t file_ = 0;          // that is being read
  std::shared_ptr<const io::MegatronTokens> megatron_;
  std::shared_ptr<const io::LlmcTokens> llmc_;
  std::uint64_t at_ = 0;  // the next document of megatron_, the next token of llmc_
  std::uint64_t num_cut_ = 0;
  std::vector<std::filesystem::path> without_;
};

}  // namespace espalier::tokenization
