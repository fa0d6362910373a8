#pragma once
#include <array>
#include <cstdint>
#include <deque>
#include <filesystem>
#include <limits>
#include <memory>
#include <string>
#include <vector>

#include "base/random.hpp"
#include "config/parameters.hpp"
#include "io/text_source.hpp"

namespace espalier::commands {

using Files = std::vector<std::filesystem::path>;

/// How `how` says that texts are read.
io::TextSource::Options text_options(const config::TokenizeParameters& how);

/// The files that tokenize.input names (io/text_inputs.hpp), on one rank of `num_ranks`. Logs what
/// was left out of folders and warns of what is read twice. Throws Error (bad_data) as it does, and
/// for a stream where there is more than one rank: every rank reads all the text.
Files find_inputs(const config::TokenizeParameters& how, int num_ranks);

enum class Split : std::uint8_t { train, validation };
constexpr std::size_t kNumSplits = 2;
constexpr const char* kSplitNames[kNumSplits] = {"train", "validation"};

/// A document and where it belongs.
struct Document {
  std::string text;
  Split split = Split::train;
  std::uint64_t shard = 0;  ///< number within the split
};

/// What was met in the files besides documents.
struct InputCounts {
  std::array<std::uint64_t, io::kNumBadLines> bad_lines{};  ///< passed over
  std::uint64_t empty_documents = 0;                        ///< passed over
  std::uint64_t num_plain = 0;                              ///< files of plain text
  Files without_separator;  ///< of them, where tokenize.document_separator does not occur
  bool has_separator_with_crlf = false;  ///< in one of these, with \r\n for \n
};

/// All documents of all files in order, each file opened and read once. To which split and shard a
/// document belongs depends on the documents before it alone, so that every rank finds the same
/// without asking:
///   split   a random number addressed by the document's global number
///   shard   the split's text so far, in pieces of about `shard_bytes` that end with a document
class DocumentReader {
 public:
  DocumentReader(Files files, const config::TokenizeParameters& how);
  /// The first documents, of at least `num_bytes` (or all); next() gives them, too. Before next().
  const std::deque<std::string>& look_ahead(std::uint64_t num_bytes);
  /// Without it, a split is one shard. Before next().
  void set_shard_bytes(std::uint64_t shard_bytes) { shard_bytes_ = shard_bytes; }
  /// The next document; false after the last. Throws as TextSource::next.
  bool next(Document& document);

  std::uint64_t num_documents() const { return num_documents_; }  ///< so far
  std::uint64_t num_bytes() const { return num_bytes_; }          ///< of text, so far
  /// Of the files, 0 to 1; below 0: not known, because a stream is among them.
  double fraction_read() const;
  const InputCounts& counts() const { return counts_; }  ///< of the files that are done

 private:
  bool next_text(std::string& text);
  void close_source();

  Files files_;
  io::TextSource::Options options_;
  double validation_fraction_;
  std::uint64_t shard_bytes_ = std::numeric_limits<std::uint64_t>::max();
  RandomStream split_of_;
  std::size_t next_file_ = 0;
  std::unique_ptr<io::TextSource> source_;
  std::deque<std::string> ahead_;
  InputCounts counts_;
  bool has_streams_ = false;
  std::uint64_t num_documents_ = 0;
  std::uint64_t num_bytes_ = 0;
  std::uint64_t bytes_of_files_ = 0;
  std::uint64_t bytes_of_files_read_ = 0;
  std::uint64_t shard_[kNumSplits] = {};  // the shard being filled
  std::uint64_t bytes_in_shard_[kNumSplits] = {};
};

}  // namespace espalier::commands
