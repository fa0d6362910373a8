#include "io/text_source.hpp"

#include <algorithm>
#include <stdexcept>
#include <vector>

#include "base/error.hpp"
#include "io/byte_source.hpp"
#include "io/json_text.hpp"

namespace espalier::io {
namespace {

constexpr std::size_t kBlockBytes = std::size_t{1} << 18;

bool is_json_lines(const std::filesystem::path& path) {
  const auto extension = unpacked_name(path).extension();
  return extension == ".jsonl" || extension == ".json";
}

bool is_blank(std::string_view line) {
  return line.find_first_not_of(" \t\r\n") == line.npos;
}

}  // namespace

struct TextSource::Implementation {
  std::filesystem::path path;
  Options options;
  bool json_lines;
  std::unique_ptr<ByteSource> bytes;
  std::string buffer;     // read but not yet given out, from `begin` on
  std::size_t begin = 0;  // first byte of the next piece
  bool at_end = false;
  std::uint64_t line = 0;

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

  /// The text up to the next `separator` (not part of it) or the end; false when there is no more.
  bool next_piece(std::string_view separator, std::string& piece) {
    std::size_t searched = 0;  // bytes of the piece that hold no separator
    for (;;) {
      if (!separator.empty()) {
        const std::size_t found = buffer.find(separator, begin + searched);
        if (found != buffer.npos) {
          piece.assign(buffer, begin, found - begin);
          begin = found + separator.size();
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

  bool next_json(std::string& document) {
    std::string text;
    while (next_piece("\n", text)) {
      ++line;
      if (is_blank(text)) continue;
      try {
        document = json_text(text, options.text_key);
      } catch (const std::runtime_error& error) {
        fail(ExitStatus::bad_data, "{}:{}: {}", path.string(), line, error.what());
      }
      if (!document.empty()) return true;
    }
    return false;
  }
};

TextSource::TextSource(const std::filesystem::path& path, Options options)
    : implementation_(std::make_unique<Implementation>()) {
  implementation_->path = path;
  implementation_->options = std::move(options);
  implementation_->json_lines = is_json_lines(path);
  implementation_->bytes = ByteSource::open(path);
}

TextSource::~TextSource() = default;

bool TextSource::next(std::string& document) {
  Implementation& self = *implementation_;
  if (self.json_lines) return self.next_json(document);
  while (self.next_piece(self.options.separator, document))
    if (!document.empty()) return true;
  return false;
}

std::uint64_t TextSource::compressed_position() const {
  return implementation_->bytes->position();
}

std::uint64_t TextSource::compressed_size() const {
  return implementation_->bytes->size();
}

}  // namespace espalier::io
