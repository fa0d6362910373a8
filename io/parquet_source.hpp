#pragma once
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>
#include <vector>

#include "io/text_part.hpp"

namespace espalier::io {

/// What was met in Parquet files besides documents.
struct ParquetCounts {
  std::uint64_t rows = 0;             ///< read so far
  std::uint64_t null_texts = 0;       ///< fields without a value
  std::uint64_t empty_documents = 0;  ///< rows whose texts are null or empty: passed over
};

class ParquetReader;

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
    /// not empty are joined by a newline, as in JSON lines (JsonKeys).
    std::vector<std::string> text_keys = {"text"};
    std::string source_key = {};  ///< column of the value that names the source; empty: none
  };
  struct RowGroup {
    std::uint64_t begin = 0;  ///< its first byte in the file
    std::uint64_t num_rows = 0;
    std::uint64_t bytes = 0;  ///< of the text columns, unpacked: about the size of the text
  };

  /// Whether the program was built with Arrow and can load it. Without it everything below throws
  /// Error (bad_data) that says what to do, as why_not_available() does; empty with it.
  static bool is_available();
  static std::string why_not_available();
  /// The row groups of a file in order, from its footer alone. Throws as the constructor.
  static std::vector<RowGroup> row_groups(const std::filesystem::path& path,
                                          const Options& options);

  /// Rows of the row groups that begin in `part`. Throws Error (bad_data) naming the file: when it
  /// is not there and, with the columns that there are, when a key names none, one that is no text,
  /// or one in a list; DamagedFileError when it is no Parquet file, or a damaged one.
  ParquetSource(const std::filesystem::path& path, Options options, TextPart part = {});
  ParquetSource(ParquetSource&&) noexcept;
  ~ParquetSource();
  /// The next document; false after the last. Throws DamagedFileError with file and row group.
  bool next(std::string& document);
  /// Of the last document: the value in the column `source_key`; empty: none.
  const std::string& source() const;
  const ParquetCounts& counts() const;
  /// About where in the file the reader is, for progress.
  std::uint64_t position() const;

 private:
  std::unique_ptr<ParquetReader> reader_;
};

}  // namespace espalier::io
