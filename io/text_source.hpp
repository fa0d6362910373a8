#pragma once
#include <cstdint>
#include <filesystem>
#include <memory>
#include <string>

namespace espalier::io {

/// Documents of one text or JSON-lines file, plain, .gz (.dz) or .zst, in order and streamed.
/// Plain text: documents are divided by `separator` (empty: the file is one document, read whole).
/// JSON lines (.jsonl, .json): one document per line under `text_key`; blank lines are passed over.
/// A document without a byte is passed over too.
class TextSource {
 public:
  struct Options {
    std::string separator;
    std::string text_key = "text";
  };
  TextSource(const std::filesystem::path& path, Options options);
  ~TextSource();
  /// The next document; false at the end. Throws Error (bad_data) with file and line.
  bool next(std::string& document);
  std::uint64_t compressed_position() const;  ///< bytes of the file read, for progress
  std::uint64_t compressed_size() const;

 private:
  struct Implementation;
  std::unique_ptr<Implementation> implementation_;
};

}  // namespace espalier::io
