#include "io/text_source.hpp"

#include <algorithm>
#include <cstring>
#include <exception>

#include "base/error.hpp"
#include "io/byte_source.hpp"
#include "io/input_file.hpp"
#include "io/parquet_source.hpp"
#include "io/text_parts.hpp"

namespace espalier::io {
namespace {

constexpr std::size_t kBlockBytes = std::size_t{1} << 18;
const std::string kLineEnd = "\n";

bool is_blank(std::string_view line) {
  return line.find_first_not_of(" \t\r\n") == line.npos;
}

std::string with_crlf(std::string_view text) {
  std::string result;
  for (const char c : text) result += c == '\n' ? std::string("\r\n") : std::string(1, c);
  return result;
}

}  // namespace

struct TextSource::Implementation {
  std::filesystem::path path;
  Options options;
  TextFormat format = TextFormat::plain;
  bool by_content = false;  // neither the name nor the options say what it is
  std::unique_ptr<ByteSource> bytes;
  std::string buffer;     // read but not yet given out, from `begin` on
  std::size_t begin = 0;  // first byte of the next piece
  bool at_end = false;
  std::exception_ptr damage;  // behind the buffer
  std::uint64_t line = 0;     // in the part
  TextCounts counts;
  JsonLineReader json{{}};
  std::string piece;   // a line
  std::string source;  // of the last document

  std::unique_ptr<ParquetSource> parquet;  // from the first row on

  // Of a part that is not the whole file.
  TextPart part;
  bool in_frames = false;               // of Zstandard
  std::size_t own = std::string::npos;  // bytes of the buffer that belong to the part
  static constexpr std::size_t kAll = std::string::npos;

  bool read_more() {
    if (damage != nullptr) std::rethrow_exception(damage);
    if (at_end) return false;
    if (begin > 0) {  // drop what was given out before the buffer grows
      buffer.erase(0, begin);
      if (own != kAll) own -= std::min(own, begin);
      begin = 0;
    }
    const std::size_t old_size = buffer.size();
    buffer.resize(old_size + std::max(kBlockBytes, old_size / 2));
    std::size_t count = 0;
    try {
      count = bytes->read(std::span(buffer).subspan(old_size));
    } catch (const DamagedFileError&) {
      buffer.resize(old_size);
      throw;
    }
    if (count == 0 && in_frames && own == kAll && part.end < bytes->size()) {
      own = old_size;  // the rest of the last line, and the line that begins at the end
      bytes = ByteSource::open(path, part.end, TextPart::kEndOfFile);
      count = bytes->read(std::span(buffer).subspan(old_size));
    }
    buffer.resize(old_size + count);
    at_end = count == 0;
    return !at_end;
  }

  /// Whether everything that belongs to the part was given out.
  bool is_done() const { return own != kAll && begin > own; }

  /// Passes over the line that belongs to the part before.
  void skip_line_of_frames() {
    for (;;) {
      const std::size_t found = buffer.find('\n', begin);
      if (found != buffer.npos) {
        // A line's end behind the part's: everything here is of the part before.
        begin = found + 1;
        if (own != kAll && found >= own) own = 0;  // is_done()
        return;
      }
      begin = buffer.size();
      if (!read_more()) return;
    }
  }

  /// What lies before the part, for messages.
  std::uint64_t lines_before() const {
    if (part.begin == 0) return 0;
    const auto before = ByteSource::open(path, 0, part.begin);
    std::string block(kBlockBytes, '\0');
    std::uint64_t lines = 0;
    while (const std::size_t count = before->read(block))
      lines += static_cast<std::uint64_t>(
          std::count(block.begin(), block.begin() + static_cast<std::ptrdiff_t>(count), '\n'));
    return lines + (in_frames ? 1 : 0);
  }

  void open(TextPart wanted) {
    if (wanted == TextPart{}) {
      bytes = ByteSource::open(path);
      return decide_format();
    }
    {  // the head of the file, wherever the part is
      Implementation whole;
      whole.path = path;
      whole.options = options;
      whole.bytes = ByteSource::open(path);
      whole.decide_format();
      format = whole.format;
      by_content = whole.by_content;
    }
    part = wanted;
    if (format == TextFormat::parquet) return;
    in_frames = packing_of_file(path) != Packing::none;
    if (!in_frames) {
      const std::string& separator = format == TextFormat::plain ? options.separator : kLineEnd;
      part.begin = document_border(path, separator, wanted.begin);
      part.end = document_border(path, separator, wanted.end);
    }
    bytes = ByteSource::open(path, part.begin, part.end);
    if (part.begin == 0) return decide_format();
    if (in_frames) skip_line_of_frames();
  }

  /// What the file is, from its name and its first bytes.
  void decide_format() {
    try {
      while (buffer.size() < kHeadBytes && read_more()) {
      }
    } catch (const DamagedFileError&) {
      if (!options.reads_damaged || buffer.empty()) throw;
      damage = std::current_exception();
    }
    const NamedKind named = kind_of_name(path);
    const std::string shown = path == "-" ? "- (standard input)" : path.string();
    if (options.format.value_or(TextFormat::parquet) == TextFormat::parquet && is_parquet(buffer))
      return take_parquet(shown);
    const std::string foreign = foreign_content(buffer);
    require(foreign.empty(), ExitStatus::bad_data, "{}: {}", shown, foreign);
    if (options.format) {
      format = *options.format;
    } else {
      require(named.refusal.empty(), ExitStatus::bad_data, "{}: {}", shown, named.refusal);
      by_content = !named.format;
      format = by_content ? format_of_content(buffer) : *named.format;
    }
    if (format == TextFormat::parquet)
      throw DamagedFileError(
          fmt::format("{}: is no Parquet file, or a damaged one: it does not begin with PAR1. "
                      "Fetch or write it "
                      "again, or correct {}",
                      shown, options.format ? "tokenize.format" : "its name"));
    if (format == TextFormat::plain) begin = buffer.size() - without_byte_order_mark(buffer).size();
  }

  /// Parquet is read from its end, and by rows: not through `bytes`.
  void take_parquet(const std::string& shown) {
    const char* problem = is_stream(path) ? "cannot be read from a stream: write it to a file"
                          : packing_of_file(path) != Packing::none
                              ? "and is packed once more: unpack it"
                              : nullptr;
    require(problem == nullptr, ExitStatus::bad_data, "{}: holds Parquet, which {}", shown,
            problem == nullptr ? "" : problem);
    require(ParquetSource::is_available(), ExitStatus::bad_data, "{}: {}", shown,
            ParquetSource::why_not_available());
    constexpr std::uint64_t kMagicBytes = 4;
    const std::uint64_t size = bytes->size();
    std::string tail(kMagicBytes, '\0');
    InputFile(path, size - std::min(size, kMagicBytes), size).read(tail);
    if (size < 2 * kMagicBytes || !is_parquet(tail))
      throw DamagedFileError(
          fmt::format("{}: the Parquet file is cut off: it does not end as it begins, with PAR1. "
                      "Fetch or write "
                      "it again",
                      shown));
    format = TextFormat::parquet;
    bytes.reset();
  }

  /// As buffer.find(), which takes three times as long where text is full of the first letter.
  std::size_t find(std::string_view separator, std::size_t from) const {
    const void* found =
        ::memmem(buffer.data() + from, buffer.size() - from, separator.data(), separator.size());
    return found == nullptr
               ? buffer.npos
               : static_cast<std::size_t>(static_cast<const char*>(found) - buffer.data());
  }

  /// The text up to the next `separator` (not part of it) or the end; false when there is no more.
  bool next_piece(std::string_view separator, std::string& found_piece) {
    if (is_done()) return false;
    std::size_t searched = 0;  // bytes of the piece that hold no separator
    for (;;) {
      if (!separator.empty()) {
        const std::size_t found = find(separator, begin + searched);
        if (found != buffer.npos) {
          found_piece.assign(buffer, begin, found - begin);
          begin = found + separator.size();
          ++counts.separators;
          return true;
        }
        // A separator may begin in the last bytes of this block.
        const std::size_t held = buffer.size() - begin;
        searched = held - std::min(held, separator.size() - 1);
      }
      if (!read_more()) break;
    }
    if (begin >= buffer.size()) return false;
    found_piece.assign(buffer, begin);
    begin = buffer.size();
    return true;
  }

  bool next_plain(std::string& document) {
    while (next_piece(options.separator, document)) {
      if (counts.separators == 0 && options.separator.find('\n') != std::string::npos)
        counts.has_separator_with_crlf =
            document.find(with_crlf(options.separator)) != std::string::npos;
      if (!document.empty()) return true;
      ++counts.empty_documents;
    }
    return false;
  }

  bool next_json(std::string& document) {
    while (next_piece(kLineEnd, piece)) {
      ++line;
      if (is_blank(piece)) continue;
      try {
        json.read(piece, document, source);
      } catch (const BadLineError& error) {
        if (!options.skip_bad_lines)
          fail(ExitStatus::bad_data,
               "{}:{}: {}. Correct the line, or set tokenize.on_bad_line = \"skip\"{}",
               path.string(), lines_before() + line, error.what(),
               by_content ? "; what begins like this file is taken for JSON lines, unless "
                            "tokenize.format = \"text\""
                          : "");
        ++counts.bad_lines[static_cast<std::size_t>(error.kind())];
        continue;
      }
      if (!document.empty()) return true;
      ++counts.empty_documents;
    }
    return false;
  }

  bool next_parquet(std::string& document) {
    if (parquet == nullptr)
      parquet = std::make_unique<ParquetSource>(
          path,
          ParquetSource::Options{.text_keys = options.keys.text, .source_key = options.keys.source},
          part);
    const bool found = parquet->next(document);
    source = parquet->source();
    counts.empty_documents = parquet->counts().empty_documents;
    return found;
  }
};

TextSource::TextSource(const std::filesystem::path& path, Options options)
    : TextSource(path, std::move(options), TextPart{}) {}

TextSource::TextSource(const std::filesystem::path& path, Options options, TextPart part)
    : implementation_(std::make_unique<Implementation>()) {
  implementation_->path = path;
  implementation_->options = std::move(options);
  implementation_->json = JsonLineReader(implementation_->options.keys);
  implementation_->open(part);
}

TextSource::~TextSource() = default;

bool TextSource::next(std::string& document) {
  Implementation& self = *implementation_;
  switch (self.format) {
    case TextFormat::plain:
      return self.next_plain(document);
    case TextFormat::json_lines:
      return self.next_json(document);
    case TextFormat::parquet:
      return self.next_parquet(document);
  }
  return false;
}

const std::string& TextSource::source() const {
  return implementation_->source;
}

TextFormat TextSource::format() const {
  return implementation_->format;
}

const TextCounts& TextSource::counts() const {
  return implementation_->counts;
}

std::uint64_t TextSource::compressed_position() const {
  const Implementation& self = *implementation_;
  if (self.format != TextFormat::parquet) return self.bytes->position();
  return self.parquet == nullptr ? self.part.begin : self.parquet->position();
}

std::uint64_t TextSource::compressed_size() const {
  const Implementation& self = *implementation_;
  return self.format == TextFormat::parquet ? std::filesystem::file_size(self.path)
                                            : self.bytes->size();
}

}  // namespace espalier::io
