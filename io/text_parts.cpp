#include "io/text_parts.hpp"

#include <algorithm>
#include <optional>

#include "base/error.hpp"
#include "io/input_file.hpp"
#include "io/packed_source.hpp"
#include "io/parquet_source.hpp"

namespace espalier::io {
namespace {

bool holds_parquet(const std::filesystem::path& path, const TextSource::Options& options) {
  if (options.format.value_or(TextFormat::parquet) != TextFormat::parquet) return false;
  return is_parquet(InputFile(path).peek(kPackingBytes));
}

ParquetSource::Options parquet_options(const TextSource::Options& options) {
  return {.text_keys = options.keys.text, .source_key = options.keys.source};
}

}  // namespace

Packing packing_of_file(const std::filesystem::path& path) {
  InputFile file(path);
  const Packing packing = packing_of(file.peek(kPackingBytes));
  return packing != Packing::none ? packing : kind_of_name(path).packing;
}

std::uint64_t estimated_text_bytes(const std::filesystem::path& path,
                                   const TextSource::Options& options) {
  if (holds_parquet(path, options)) {
    std::uint64_t bytes = 0;
    for (const auto& group : ParquetSource::row_groups(path, parquet_options(options)))
      bytes += group.bytes;
    return bytes;
  }
  const std::uint64_t num_bytes = std::filesystem::file_size(path);
  switch (packing_of_file(path)) {
    case Packing::none:
      return num_bytes;
    case Packing::gzip:
    case Packing::zstd:
      return 3 * num_bytes;
    case Packing::bzip2:
    case Packing::xz:
      return 4 * num_bytes;
  }
  return num_bytes;
}

namespace {

/// From the beginning to the first of `cuts`, to the next, and to the end of the file.
std::vector<TextPart> parts_between(const std::vector<std::uint64_t>& cuts, std::uint64_t size) {
  std::vector<TextPart> parts;
  std::uint64_t begin = 0;
  for (const std::uint64_t cut : cuts) {
    parts.push_back({begin, cut});
    begin = cut;
  }
  parts.push_back({begin, size});
  return parts;
}

std::vector<TextPart> cut_row_groups(const std::filesystem::path& path,
                                     const TextSource::Options& options, std::uint64_t text_bytes) {
  std::vector<std::uint64_t> cuts;
  std::uint64_t held = 0;  // text of the part
  for (const auto& group : ParquetSource::row_groups(path, parquet_options(options))) {
    if (held > 0 && held + group.bytes / 2 > text_bytes) {
      cuts.push_back(group.begin);
      held = 0;
    }
    held += group.bytes;
  }
  if (cuts.empty()) return {{}};
  return parts_between(cuts, std::filesystem::file_size(path));
}

}  // namespace

std::vector<TextPart> cut_text(const std::filesystem::path& path,
                               const TextSource::Options& options, std::uint64_t text_bytes) {
  if (holds_parquet(path, options)) return cut_row_groups(path, options, text_bytes);
  const std::vector<TextPart> whole(1);
  const std::uint64_t size = std::filesystem::file_size(path);
  const Packing packing = packing_of_file(path);
  const std::uint64_t estimate = estimated_text_bytes(path, options);
  if (estimate < 2 * text_bytes || (packing != Packing::none && packing != Packing::zstd))
    return whole;
  const bool has_lines = TextSource(path, options).format() == TextFormat::json_lines;
  if (!has_lines && (packing != Packing::none || options.separator.empty())) return whole;

  // The begins of the parts but the first.
  std::vector<std::uint64_t> cuts;
  const std::uint64_t num_parts = estimate / text_bytes;
  if (packing == Packing::none) {
    // Where documents begin, so that a reader need not search: it would do so once a part, and of
    // a document as long as many parts again and again.
    const std::uint64_t bytes = (size + num_parts - 1) / num_parts;
    for (std::uint64_t wanted = bytes; wanted < size;) {
      const std::uint64_t begin =
          document_border(path, has_lines ? "\n" : options.separator, wanted);
      if (begin >= size) break;
      cuts.push_back(begin);
      wanted = begin + bytes;
    }
  } else {
    const std::uint64_t packed_bytes = size / num_parts;
    std::uint64_t last = 0;
    for (const std::uint64_t begin : zstd_frame_begins(path)) {
      if (begin - last < packed_bytes) continue;
      cuts.push_back(begin);
      last = begin;
    }
  }
  if (cuts.empty()) return whole;
  return parts_between(cuts, size);
}

std::uint64_t document_border(const std::filesystem::path& path, std::string_view separator,
                              std::uint64_t position) {
  if (position == 0) return 0;
  position = std::min<std::uint64_t>(position, std::filesystem::file_size(path));
  const std::uint64_t length = separator.size();
  // From here on no occurrence is missed that overlaps one that ends at `position`.
  const std::uint64_t first = position - std::min(position, 2 * length);
  InputFile file(path, first, TextPart::kEndOfFile);
  if (position >= file.size() || separator.empty()) return file.size();
  std::string buffer;  // the file from `base` on
  std::uint64_t base = first;
  std::optional<std::uint64_t> before;  // the occurrence before
  std::size_t searched = 0;
  for (std::string block(std::size_t{1} << 16, '\0');;) {
    const std::size_t count = file.read(block);
    if (count == 0) return file.size();
    buffer.append(block, 0, count);
    for (std::size_t found = buffer.find(separator, searched); found != buffer.npos;
         found = buffer.find(separator, found + 1)) {
      const std::uint64_t here = base + found;
      const bool overlaps = before && *before + length > here;
      before = here;
      if (!overlaps && here + length >= position) return here + length;
    }
    const std::size_t kept = std::min<std::size_t>(buffer.size(), length - 1);
    base += buffer.size() - kept;
    buffer.erase(0, buffer.size() - kept);
    searched = 0;
  }
}

}  // namespace espalier::io
