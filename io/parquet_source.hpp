#pragma once
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

namespace espalier::io {

/// What was met in Parquet files besides documents.
struct ParquetCounts {
  std::uint64_t rows = 0;             ///< read so far
  std::uint64_t null_texts = 0;       ///< fields without a value
  std::uint64_t empty_documents = 0;  ///< rows whose texts are null or empty: passed over
};

/// Texts of a Parquet file, a document a row, through Apache Arrow's library (CMake's
/// ESPALIER_ARROW). A page of each column is held at a time, never a file or a row group: about
/// 1 MB as most writers make them, else as much as the longest text, packed and unpacked.
///
/// A column is one of strings or of bytes (Parquet's BYTE_ARRAY, dictionary-encoded or not), packed
/// in whatever way the library unpacks (snappy, gzip, zstd, ...), outside of lists. Bytes need not
/// be valid UTF-8.
class ParquetSource {
 public:
  struct Options {
    /// Columns; "meta.text" is the field text of the column meta. With several, the texts that are
    /// not empty are joined.
    std::vector<std::string> text_keys = {"text"};
    std::string joint = "\n\n";  ///< between texts of a document
  };
  struct RowGroup {
    std::uint64_t num_rows = 0;
    std::uint64_t packed_bytes = 0;  ///< of the text columns, in the file
    std::uint64_t bytes = 0;         ///< of these, unpacked: about the size of the text
  };

  /// Whether this program was built with Arrow. Without it everything below throws Error (bad_data)
  /// that says what to do.
  static bool is_available();
  /// The row groups of a file, from its footer alone. Throws as the constructor.
  static std::vector<RowGroup> row_groups(const std::filesystem::path& path,
                                          const Options& options);

  /// Rows of `num_row_groups` row groups from `first_row_group` on, of those that are there. Throws
  /// Error (bad_data) naming the file: when it is not there or is no Parquet file, and, with the
  /// columns that there are, when a key names none, one that is no text, or one in a list.
  ParquetSource(const std::filesystem::path& path, Options options, int first_row_group = 0,
                int num_row_groups = 1 << 30);
  ParquetSource(ParquetSource&&) noexcept;
  ~ParquetSource();
  /// The next document; false after the last. Throws Error (bad_data) with file and row group when
  /// the data are damaged.
  bool next(std::string& document);
  const ParquetCounts& counts() const;
  /// Of RowGroup::packed_bytes, read so far: for progress.
  std::uint64_t packed_position() const;

 private:
  struct Implementation;
  std::unique_ptr<Implementation> implementation_;
};

}  // namespace espalier::io
