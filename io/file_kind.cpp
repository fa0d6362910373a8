#include "io/file_kind.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <cctype>

namespace espalier::io {
namespace {

using namespace std::string_view_literals;

constexpr std::array kPackings = {
    std::pair{".gz"sv, Packing::gzip},   std::pair{".gzip"sv, Packing::gzip},
    std::pair{".dz"sv, Packing::gzip},  // dictzip adds an index to the gzip header
    std::pair{".bz2"sv, Packing::bzip2}, std::pair{".xz"sv, Packing::xz},
    std::pair{".zst"sv, Packing::zstd},  std::pair{".zstd"sv, Packing::zstd}};

struct NamedFormat {
  std::string_view extension;
  TextFormat format;
  bool in_folders;
};
constexpr std::array kFormats = {
    NamedFormat{".txt", TextFormat::plain, true},
    NamedFormat{".text", TextFormat::plain, true},
    NamedFormat{".dict", TextFormat::plain, true},
    NamedFormat{".md", TextFormat::plain, false},
    NamedFormat{".markdown", TextFormat::plain, false},
    NamedFormat{".rst", TextFormat::plain, false},
    NamedFormat{".tex", TextFormat::plain, false},
    NamedFormat{".log", TextFormat::plain, false},
    NamedFormat{".jsonl", TextFormat::json_lines, true},
    NamedFormat{".ndjson", TextFormat::json_lines, true},
    NamedFormat{".jsonlines", TextFormat::json_lines, true},
    NamedFormat{".json", TextFormat::json_lines, true},
    NamedFormat{".parquet", TextFormat::parquet, true},
    NamedFormat{".pq", TextFormat::parquet, true},
};

constexpr std::string_view kAsJsonLines =
    "Write its text as JSON lines (with pandas: frame.to_json(\"x.jsonl\", orient=\"records\", "
    "lines=True))";
constexpr std::string_view kUnpackArchive = "Unpack it and name the files or their folder";
constexpr std::string_view kRepack = "Unpack it, or pack it with zstd";
constexpr std::string_view kNumbers = "These are numbers, not text: name the text they come from";
constexpr std::string_view kExtract = "Extract its text into a .txt or .jsonl file";
constexpr std::string_view kUnfinished = "It looks unfinished or old: finish or rename it";

/// Extensions that say what a file is, and that it is not read.
struct Foreign {
  std::string_view extensions;  ///< with a blank before and behind each
  std::string_view what;
  std::string_view remedy;
};
constexpr std::array kForeignNames = {
    Foreign{" .arrow .feather .ipc ", "Arrow", kAsJsonLines},
    Foreign{" .orc .avro .xlsx .xls .ods .sqlite .db ", "a table", kAsJsonLines},
    Foreign{" .csv .tsv ", "comma- or tab-separated values", kAsJsonLines},
    Foreign{" .npy .npz .bin .idx .pt .pth .pkl .pickle .safetensors .h5 .hdf5 ", "an array",
            kNumbers},
    Foreign{" .tar .tgz .tbz2 .txz .tzst .zip .7z .rar ", "an archive", kUnpackArchive},
    Foreign{" .lz4 .lzma .lz .lzo .br .z .sz .snappy ", "packed in a way that is not read",
            kRepack},
    Foreign{" .pdf .docx .doc .odt .epub .html .htm .xml .rtf ", "a formatted document", kExtract},
    Foreign{" .part .partial .tmp .incomplete .crdownload .bak .swp ", "a file in the making",
            kUnfinished},
};

/// Bytes at the beginning, or at `offset`, that no text has.
struct Magic {
  std::size_t offset;
  std::string_view bytes;
  std::string_view what;
  std::string_view remedy;
};
constexpr std::string_view kToUtf8 = "Convert it: iconv -t UTF-8";
constexpr std::string_view kTwice = "It is packed twice: unpack it once";
constexpr std::array kMagics = {
    Magic{0, "PAR1"sv, "Parquet", kAsJsonLines},
    Magic{0, "ARROW1\0\0"sv, "Arrow", kAsJsonLines},
    Magic{0, "\xFF\xFF\xFF\xFF"sv, "an Arrow stream or numbers", kAsJsonLines},
    Magic{0, "Obj\x01"sv, "Avro", kAsJsonLines},
    Magic{0, "SQLite format 3\0"sv, "a data base (SQLite)", kAsJsonLines},
    Magic{0, "\x93NUMPY"sv, "an array (npy)", kNumbers},
    Magic{0, "\x89HDF\r\n\x1A\n"sv, "HDF5", kNumbers},
    Magic{0, "PK\x03\x04"sv, "an archive (zip)", kUnpackArchive},
    Magic{0, "PK\x05\x06"sv, "an archive (zip)", kUnpackArchive},
    Magic{0, "7z\xBC\xAF\x27\x1C"sv, "an archive (7z)", kUnpackArchive},
    Magic{0, "Rar!\x1A\x07"sv, "an archive (rar)", kUnpackArchive},
    Magic{257, "ustar\0"sv, "an archive (tar)", kUnpackArchive},
    Magic{257, "ustar  \0"sv, "an archive (tar)", kUnpackArchive},
    Magic{0, "\x04\x22\x4D\x18"sv, "lz4", kRepack},
    Magic{0, "%PDF-"sv, "PDF", kExtract},
    Magic{0, "\x89PNG\r\n"sv, "an image (PNG)", kExtract},
    Magic{0, "\xFF\xD8\xFF"sv, "an image (JPEG)", kExtract},
    Magic{0,
          "\x7F"
          "ELF"sv,
          "a program", kExtract},
    Magic{0, "\xFF\xFE\0\0"sv, "UTF-32", kToUtf8},
    Magic{0, "\0\0\xFE\xFF"sv, "UTF-32", kToUtf8},
    Magic{0, "\xFF\xFE"sv, "UTF-16", kToUtf8},
    Magic{0, "\xFE\xFF"sv, "UTF-16", kToUtf8},
};

std::string lower(std::string text) {
  for (char& c : text) c = static_cast<char>(std::tolower(static_cast<unsigned char>(c)));
  return text;
}

bool all_digits(std::string_view text) {
  return !text.empty() &&
         std::all_of(text.begin(), text.end(), [](char c) { return c >= '0' && c <= '9'; });
}

/// ".jsonl-00000-of-00010" without what follows ".jsonl".
std::string without_part_number(const std::string& extension) {
  const std::size_t of = extension.rfind("-of-");
  if (of == extension.npos || !all_digits(std::string_view(extension).substr(of + 4)))
    return extension;
  const std::size_t dash = extension.rfind('-', of - 1);
  if (of == 0 || dash == extension.npos || dash + 1 > of ||
      !all_digits(std::string_view(extension).substr(dash + 1, of - dash - 1)))
    return extension;
  return extension.substr(0, dash);
}

/// Takes a number off the end of a name: .1, .007 or -00000-of-00010.
void strip_number(std::filesystem::path& name) {
  const std::string extension = name.extension().string();
  if (all_digits(std::string_view(extension).substr(extension.empty() ? 0 : 1)))
    name = name.stem();
  else if (const std::string without = without_part_number(extension); without != extension)
    name = name.stem().string() + without;
}

struct Counts {
  std::size_t zeros_at_even = 0, zeros_at_odd = 0, control = 0, ill_formed = 0;
};

/// Of bytes: zeros, control characters that no text has, and bytes that are no UTF-8 (roughly:
/// wrong continuations; overlong forms do not matter here).
Counts count_bytes(std::string_view head) {
  Counts counts;
  std::size_t expected = 0;  // continuation bytes
  for (std::size_t i = 0; i < head.size(); ++i) {
    const auto byte = static_cast<unsigned char>(head[i]);
    if (byte == 0) ++(i % 2 == 0 ? counts.zeros_at_even : counts.zeros_at_odd);
    if ((byte > 0 && byte < 8) || (byte > 13 && byte < 32 && byte != 27) || byte == 127)
      ++counts.control;
    if (expected > 0 && (byte & 0xC0) == 0x80) {
      --expected;
      continue;
    }
    if (expected > 0) ++counts.ill_formed;
    expected = byte < 0xC2 ? 0 : byte < 0xE0 ? 1 : byte < 0xF0 ? 2 : byte < 0xF5 ? 3 : 0;
    if (byte >= 0x80 && expected == 0) ++counts.ill_formed;
  }
  return counts;
}

}  // namespace

NamedKind kind_of_name(const std::filesystem::path& path) {
  NamedKind kind;
  std::filesystem::path name = lower(path.filename().string());
  strip_number(name);
  for (const auto& [extension, packing] : kPackings) {
    if (name.extension() != extension) continue;
    kind.packing = packing;
    name = name.stem();
    strip_number(name);
    break;
  }
  const std::string extension = name.extension().string();
  if (extension.empty()) return kind;
  for (const NamedFormat& named : kFormats) {
    if (named.extension != extension) continue;
    kind.format = named.format;
    kind.in_folders = named.in_folders;
    return kind;
  }
  for (const Foreign& foreign : kForeignNames)
    if (foreign.extensions.find(fmt::format(" {} ", extension)) != std::string_view::npos)
      kind.refusal = fmt::format("by its name it is {}. {}, or set tokenize.format if it is text",
                                 foreign.what, foreign.remedy);
  if (kind.refusal.empty())
    kind.refusal = fmt::format(
        "\"{}\" does not say what is in it. Name it .txt (plain text) or .jsonl (JSON lines), or "
        "set tokenize.format",
        extension);
  return kind;
}

Packing packing_of(std::string_view head) {
  if (head.starts_with("\x1F\x8B"sv)) return Packing::gzip;
  if (head.starts_with("\xFD\x37zXZ\0"sv)) return Packing::xz;
  if (head.starts_with("\x28\xB5\x2F\xFD"sv)) return Packing::zstd;
  // A skippable frame of zstd: 0x184D2A5x, little endian.
  if (head.size() >= 4 && (head[0] & '\xF0') == '\x50' && head.substr(1, 3) == "\x2A\x4D\x18"sv)
    return Packing::zstd;
  // "BZh1" to "BZh9" and the number pi of the first block, or its root of an empty file.
  if (head.size() >= 10 && head.starts_with("BZh"sv) && head[3] >= '1' && head[3] <= '9' &&
      (head.substr(4, 6) == "1AY&SY"sv || head.substr(4, 6) == "\x17\x72\x45\x38\x50\x90"sv))
    return Packing::bzip2;
  return Packing::none;
}

bool is_parquet(std::string_view head) {
  return head.starts_with("PAR1"sv);
}

std::string foreign_content(std::string_view head) {
  for (const Magic& magic : kMagics)
    if (head.size() >= magic.offset + magic.bytes.size() &&
        head.substr(magic.offset, magic.bytes.size()) == magic.bytes)
      return fmt::format("holds {}, not text. {}", magic.what, magic.remedy);
  if (packing_of(head) != Packing::none) return fmt::format("holds packed data. {}", kTwice);
  head = head.substr(0, kHeadBytes);
  const Counts counts = count_bytes(head);
  const std::size_t zeros = counts.zeros_at_even + counts.zeros_at_odd;
  // Latin letters in UTF-16 have a zero beside every letter, all on the same side.
  if (zeros * 10 >= head.size() * 3 && head.size() >= 8 &&
      std::min(counts.zeros_at_even, counts.zeros_at_odd) * 20 < head.size())
    return fmt::format("holds UTF-16 or numbers, not text in UTF-8. {}", kToUtf8);
  // Other encodings than UTF-8 have ill-formed bytes, too, but no control characters.
  if ((zeros + counts.control) * 10 >= head.size() * 3 && head.size() >= 8)
    return fmt::format("holds binary data, not text. {}", kNumbers);
  if (counts.ill_formed > 0 && counts.control * 100 > head.size() * 3)
    return fmt::format("holds binary data, not text. {}", kExtract);
  return {};
}

std::string_view without_byte_order_mark(std::string_view text) {
  constexpr std::string_view kMark = "\xEF\xBB\xBF";
  return text.starts_with(kMark) ? text.substr(kMark.size()) : text;
}

TextFormat format_of_content(std::string_view head) {
  head = without_byte_order_mark(head);
  const std::size_t brace = head.find_first_not_of(" \t\r\n"sv);
  if (brace == head.npos || head[brace] != '{') return TextFormat::plain;
  const std::size_t next = head.find_first_not_of(" \t"sv, brace + 1);
  const bool is_object = next != head.npos && (head[next] == '"' || head[next] == '}');
  return is_object ? TextFormat::json_lines : TextFormat::plain;
}

std::optional<TextFormat> text_format_from_name(std::string_view name) {
  if (name == "text") return TextFormat::plain;
  if (name == "json_lines") return TextFormat::json_lines;
  if (name == "parquet") return TextFormat::parquet;
  return std::nullopt;
}

}  // namespace espalier::io
