#pragma once
#include <filesystem>
#include <string_view>
#include <vector>

#include "io/text_source.hpp"

// Where a file of text can be divided between readers that know nothing of one another.

namespace espalier::io {

/// The packing of a file that is no stream, by its first bytes, else by its name.
Packing packing_of_file(const std::filesystem::path& path);

/// About how many bytes of text a file that is no stream holds. Packed text is taken to be three or
/// four times as long; Parquet says how long its columns are. Throws as ParquetSource.
std::uint64_t estimated_text_bytes(const std::filesystem::path& path,
                                   const TextSource::Options& options);

/// Parts of about `text_bytes` bytes of text each, in order and without gaps, for TextSource:
///   not packed            JSON lines, and plain text with a separator: where documents begin
///   Zstandard             JSON lines, between frames, where a file has several
///   Parquet               between row groups
///   everything else       one part
/// `path` is no stream. Depends on the file and the options alone. Throws as TextSource.
std::vector<TextPart> cut_text(const std::filesystem::path& path,
                               const TextSource::Options& options, std::uint64_t text_bytes);

/// Where in a file that is not packed a document begins at or behind `position`, when documents are
/// divided by `separator`: a place that a reader from the file's beginning finds, too. (Of a
/// separator that overlaps itself, as in a run of newlines, only such an occurrence counts that
/// no other one overlaps from before.) The end of the file when there is none.
std::uint64_t document_border(const std::filesystem::path& path, std::string_view separator,
                              std::uint64_t position);

}  // namespace espalier::io
