#pragma once
#include <cstddef>
#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <string_view>

// What a file of text is: the one place that decides, from its name and its first bytes. The bytes
// are believed where they are unmistakable, the name elsewhere; what neither tells is refused.

namespace espalier::io {

enum class Packing : std::uint8_t { none, gzip, bzip2, xz, zstd };

enum class TextFormat : std::uint8_t {
  plain,       ///< text, divided into documents by a separator
  json_lines,  ///< a JSON object per line
  parquet,     ///< a row of a table per document
};

/// What a name says. Letter case does not count; a number behind the name (.jsonl.1, .txt.007,
/// .jsonl-00000-of-00010) neither.
struct NamedKind {
  Packing packing = Packing::none;   ///< .gz .gzip .dz .bz2 .xz .zst .zstd
  std::optional<TextFormat> format;  ///< none: the name has no extension, or one that is refused
  /// Whether a folder that is named stands for such files, too: not for README.md and its like.
  bool in_folders = false;
  /// Why a file of this name is not read, and what to do; empty: it may be.
  std::string refusal;
};
NamedKind kind_of_name(const std::filesystem::path& path);

/// First bytes from which packing_of decides.
inline constexpr std::size_t kPackingBytes = 10;
/// Packing by the first bytes of a file; none: they are those of no packed file.
Packing packing_of(std::string_view head);

/// First bytes of the text, unpacked, from which the following decide (or all there are).
inline constexpr std::size_t kHeadBytes = 4096;
/// Whether a Parquet file begins so.
bool is_parquet(std::string_view head);
/// What is there in place of text, and what to do ("holds Parquet. ..."); empty: it may be text.
std::string foreign_content(std::string_view head);
/// The text without the byte-order mark of UTF-8 that it may begin with.
std::string_view without_byte_order_mark(std::string_view text);
/// Of a file whose name does not say: JSON lines when it begins with a JSON object.
TextFormat format_of_content(std::string_view head);

/// The value of tokenize.format ("auto", "text", "json_lines", "parquet"); none: auto.
std::optional<TextFormat> text_format_from_name(std::string_view name);

}  // namespace espalier::io
