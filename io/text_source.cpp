#include "io/text_source.hpp"

#include <algorithm>

#include "base/error.hpp"
#include "io/byte_source.hpp"

namespace espalier::io {
namespace {

constexpr std::size_t kBlockBytes = std::size_t{1} << 18;
constexpr std::string_view kByteOrderMark = "\xEF\xBB\xBF";

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
  std::uint64_t line = 0;
  TextCounts counts;

  bool read_more() {
    if (at_end) return false;
    if (begin > 0) {  // drop what was given out before the buffer grows
      buffer.erase(0, begin);
      begin = 0;
    }
    const std::size_t old_size = buffer.size();
    buffer.resize(old_size + std::max(kBlockBytes, old_size / 2));
    const std::size_t count = bytes->read(std::span(buffer).subspan(old_size));
    buffer.resize(old_size + count);
    at_end = count == 0;
    return !at_end;
  }

  /// What the file is, from its name and its first bytes.
  void decide_format() {
    while (buffer.size() < kHeadBytes && read_more()) {
    }
    const NamedKind named = kind_of_name(path);
    const std::string shown = path == "-" ? "- (standard input)" : path.string();
    const std::string foreign = foreign_content(buffer);
    require(foreign.empty(), ExitStatus::bad_data, "{}: {}", shown, foreign);
    if (options.format) {
      format = *options.format;
    } else {
      require(named.refusal.empty(), ExitStatus::bad_data, "{}: {}", shown, named.refusal);
      by_content = !named.format;
      format = by_content ? format_of_content(buffer) : *named.format;
    }
    if (format == TextFormat::plain && buffer.starts_with(kByteOrderMark))
      begin = kByteOrderMark.size();
  }

  /// The text up to the next `separator` (not part of it) or the end; false when there is no more.
  bool next_piece(std::string_view separator, std::string& piece) {
    std::size_t searched = 0;  // bytes of the piece that hold no separator
    for (;;) {
      if (!separator.empty()) {
        const std::size_t found = buffer.find(separator, begin + searched);
        if (found != buffer.npos) {
          piece.assign(buffer, begin, found - begin);
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
    if (begin == buffer.size()) return false;
    piece.assign(buffer, begin);
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
    std::string text;
    while (next_piece("\n", text)) {
      ++line;
      if (is_blank(text)) continue;
      try {
        document = json_text(text, options.text_key);
      } catch (const BadLineError& error) {
        if (!options.skip_bad_lines)
          fail(ExitStatus::bad_data,
               "{}:{}: {}. Correct the line, or set tokenize.on_bad_line = \"skip\"{}",
               path.string(), line, error.what(),
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
};

TextSource::TextSource(const std::filesystem::path& path, Options options)
    : implementation_(std::make_unique<Implementation>()) {
  implementation_->path = path;
  implementation_->options = std::move(options);
  implementation_->bytes = ByteSource::open(path);
  implementation_->decide_format();
}

TextSource::~TextSource() = default;

bool TextSource::next(std::string& document) {
  Implementation& self = *implementation_;
  return self.format == TextFormat::json_lines ? self.next_json(document)
                                               : self.next_plain(document);
}

TextFormat TextSource::format() const {
  return implementation_->format;
}

const TextCounts& TextSource::counts() const {
  return implementation_->counts;
}

std::uint64_t TextSource::compressed_position() const {
  return implementation_->bytes->position();
}

std::uint64_t TextSource::compressed_size() const {
  return implementation_->bytes->size();
}

}  // namespace espalier::io
