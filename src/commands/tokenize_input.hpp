#pragma once
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "base/random.hpp"
#include "config/parameters.hpp"
#include "io/text_source.hpp"

namespace espalier::commands {

/// The files that tokenize.input names: a folder stands for its text and JSON-lines files, sorted
/// by name. Throws Error (bad_data) when a name is not there or a folder holds no such file.
std::vector<std::filesystem::path> expand_inputs(const std::vector<std::string>& names);

enum class Split : std::uint8_t { train, validation };
constexpr std::size_t kNumSplits = 2;
constexpr const char* kSplitNames[kNumSplits] = {"train", "validation"};

/// A document and where it belongs.
struct Document {
  std::string text;
  Split split = Split::train;
  std::uint64_t shard = 0;  ///< number within the split
};

/// All documents of all files in order. To which split and shard a document belongs depends on
/// the documents before it alone, so that every rank finds the same without asking:
///   split   a random number addressed by the document's global number
///   shard   the split's text so far, in pieces of about `shard_bytes` that end with a document
class DocumentReader {
 public:
  DocumentReader(std::vector<std::filesystem::path> files, const config::TokenizeParameters& how,
                 std::uint64_t shard_bytes);
  /// The next document; false after the last. Throws as TextSource::next.
  bool next(Document& document);

  std::uint64_t num_documents() const { return num_documents_; }  ///< so far
  std::uint64_t num_bytes() const { return num_bytes_; }          ///< of text, so far
  double fraction_read() const;                                   ///< of the files, 0 to 1

 private:
  std::vector<std::filesystem::path> files_;
  io::TextSource::Options options_;
  double validation_fraction_;
  std::uint64_t shard_bytes_;
  RandomStream split_of_;
  std::size_t next_file_ = 0;
  std::unique_ptr<io::TextSource> source_;
  std::uint64_t num_documents_ = 0;
  std::uint64_t num_bytes_ = 0;
  std::uint64_t bytes_of_files_ = 0;
  std::uint64_t bytes_of_files_read_ = 0;
  std::uint64_t shard_[kNumSplits] = {};  // the shard being filled
  std::uint64_t bytes_in_shard_[kNumSplits] = {};
};

}  // namespace espalier::commands
