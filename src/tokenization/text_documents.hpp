#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "config/parameters.hpp"
#include "parallel/comm/session.hpp"
#include "tokenizer/tokenizer.hpp"
#include "train/document_marks.hpp"

namespace espalier::tokenization {

/// The documents of one file, or of standard input ("-"), on every rank, as `how` says that texts
/// are read. Rank 0 reads and hands on: a stream is there once, and what is wrong is told once.
/// Throws, on every rank, Error (bad_data) for what is not there or no text, for a bad line, and
/// when there is no document; Error (stopped_early) when a stop is requested. Collective.
std::vector<std::string> read_documents(parallel::MpiSession& session, const std::string& path,
                                        const config::TokenizeParameters& how);

/// Documents as a row of tokens.
struct EncodedText {
  std::vector<std::uint32_t> ids;
  std::size_t num_documents = 0;   ///< in `ids`; fewer than there are: it was stopped
  std::size_t num_text_bytes = 0;  ///< of those
  std::size_t num_text_ids = 0;    ///< of those, without what stands around a document
};

/// Every document behind marks.begin, with the separator between them. `may_go_on` is asked before
/// the first document, and before the next one whenever kBytesBetweenQuestions more of the text are
/// done: on every rank at the same places, so that it may be collective.
EncodedText encode_documents(const std::vector<std::string>& documents,
                             const tokenizer::Tokenizer& tokenizer,
                             const train::DocumentMarks& marks,
                             const std::function<bool()>& may_go_on);
inline constexpr std::size_t kBytesBetweenQuestions = 100'000;  ///< some milliseconds

}  // namespace espalier::tokenization
