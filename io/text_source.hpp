#pragma once
#include <array>
#include <cstdint>
#include <filesystem>
#include <memory>
#include <optional>
#include <string>

#include "io/file_kind.hpp"
#include "io/json_text.hpp"
#include "io/text_part.hpp"

namespace espalier::io {

/// What was met in a text besides its documents.
struct TextCounts {
  std::array<std::uint64_t, kNumBadLines> bad_lines{};  ///< passed over, by BadLine
  std::uint64_t empty_documents = 0;                    ///< passed over
  std::uint64_t separators = 0;                         ///< found in plain text
  /// The separator is not in the text, but is there with \r\n for its line ends.
  bool has_separator_with_crlf = false;
};

/// Documents of one text, JSON-lines or Parquet file or stream ("-": standard input), plain or
/// packed, in order; read once, and no more of it held than a block and a document.
/// Plain text: documents are divided by `separator` (empty: the file is one document, read whole);
/// a byte-order mark of UTF-8 at the beginning is dropped. JSON lines: one document per line, as
/// `keys` say; blank lines are passed over. Parquet: one document per row, the texts of the columns
/// that `keys` name; the file is no stream, and not packed once more (io/parquet_source.hpp). A
/// document without a byte is passed over too. What the file is: io/file_kind.hpp.
class TextSource {
 public:
  struct Options {
    std::string separator = "";
    JsonKeys keys = {};
    std::optional<TextFormat> format = std::nullopt;  ///< none: as name and content say
    bool skip_bad_lines = false;  ///< JSON lines; else the first one is an Error
    /// Of a damaged file the documents that end before the damage are given, and then next()
    /// throws; else the constructor may.
    bool reads_damaged = false;
  };
  /// Reads the first bytes. Throws Error (bad_data) for what is not there or no text, with what it
  /// is instead and what to do; and as ByteSource. Of Parquet the rest, its columns too, is looked
  /// at by the first next().
  TextSource(const std::filesystem::path& path, Options options);
  /// The documents that belong to a part of a file. Those of all parts of a file, in order, are the
  /// documents of the file, whatever the cuts:
  ///   not packed   a part has the documents that begin in it
  ///   Zstandard    parts are whole frames, and a part has the lines that begin behind its first
  ///                byte, up to and with its end: the first one reads to a line's end behind that
  ///   Parquet      a part has the row groups that begin in it
  TextSource(const std::filesystem::path& path, Options options, TextPart part);
  ~TextSource();
  /// The next document; false at the end. Throws Error (bad_data) with file and line, and as
  /// ByteSource and ParquetSource.
  bool next(std::string& document);
  /// Of the last document: the value of keys.source in JSON lines or Parquet; empty: none.
  const std::string& source() const;
  TextFormat format() const;
  const TextCounts& counts() const;           ///< so far
  std::uint64_t compressed_position() const;  ///< in the file, for progress
  std::uint64_t compressed_size() const;      ///< a stream: 0

 private:
  struct Implementation;
  std::unique_ptr<Implementation> implementation_;
};

}  // namespace espalier::io
