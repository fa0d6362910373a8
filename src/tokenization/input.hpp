#pragma once
#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/random.hpp"
#include "config/parameters.hpp"
#include "io/corpus_counts.hpp"
#include "io/corpus_manifest.hpp"
#include "io/text_source.hpp"

namespace espalier::tokenization {

using Files = std::vector<std::filesystem::path>;

/// How `how` says that texts are read.
io::TextSource::Options text_options(const config::TokenizeParameters& how);

/// The files that tokenize.input names (io/text_inputs.hpp), on one rank of `num_ranks`. Logs what
/// was left out of folders and warns of what is read twice. Throws Error (bad_data) as it does, and
/// (bad_configuration) for a stream where there is more than one rank.
Files find_inputs(const config::TokenizeParameters& how, int num_ranks);

/// Some documents of a unit in a row, on their way from the reader to the writer.
struct DocumentBatch {
  struct Document {
    std::size_t text_end = 0;  ///< in `text`; it begins where the one before ends
    std::size_t id_end = 0;    ///< in `ids`, likewise
    std::uint32_t source = 0;  ///< in `sources`
    io::Split split = io::Split::train;
  };
  std::size_t unit = 0;
  std::string text;
  std::vector<Document> documents;
  std::vector<std::string> sources;  ///< file-name-safe; "" without tokenize.source_key
  std::vector<std::uint32_t> ids;    ///< once they are encoded
  std::uint64_t disk_bytes = 0;      ///< of the files, read for this batch
  bool ends_unit = false;
  io::CorpusCounts counts;  ///< of the unit, but for its sources; with ends_unit

  std::string_view text_of(std::size_t document) const;
  std::span<const std::uint32_t> ids_of(std::size_t document) const;
};

/// The documents of one unit in order, each file opened and read once. The split of a document is a
/// random number addressed by (unit, document in the unit): a pure function of the input. A
/// damaged file gives the documents that end before the damage (tokenize.on_bad_file = "skip"), or
/// an Error.
class UnitReader {
 public:
  UnitReader(const io::CorpusManifest& manifest, std::size_t unit,
             const config::TokenizeParameters& how);
  /// The next documents, of about kBatchBytes; the last one may be larger. Sets ends_unit. Throws
  /// as TextSource::next.
  void fill(DocumentBatch& batch);
  static constexpr std::size_t kBatchBytes = 1'000'000;

 private:
  using Part = io::CorpusManifest::Part;
  bool next_document();
  void open_part(const Part& part);
  void close_part();
  void note_time();
  std::uint64_t disk_position() const;

  const io::CorpusManifest& manifest_;
  std::size_t unit_;
  io::TextSource::Options options_;
  bool skips_damaged_;
  double validation_fraction_;
  RandomStream split_of_;
  std::size_t next_part_ = 0;
  std::unique_ptr<io::TextSource> source_;
  std::string document_;
  std::uint64_t num_documents_ = 0;
  std::uint64_t disk_bytes_done_ = 0, disk_bytes_told_ = 0;
  double part_seconds_ = 0.0;
  double clock_ = 0.0;
  io::CorpusCounts counts_;
};

/// A value of tokenize.source_key as the name of a folder: letters, digits, '.', '_' and '-' stay,
/// others become '_' with a hash behind the name, so that no two values share one. Empty:
/// "unknown".
std::string source_folder(const std::string& value);

}  // namespace espalier::tokenization
