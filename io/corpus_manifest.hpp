#pragma once
#include <cstdint>
#include <filesystem>
#include <string>
#include <utility>
#include <vector>

#include "io/text_source.hpp"

namespace espalier::io {

/// What a tokenization is going to do, decided before anything is encoded: units of input make
/// units of output. It follows from the inputs and the parameters alone, so that any number of
/// ranks writes the same shards, and a job that was cut short goes on at the next unit.
struct CorpusManifest {
  struct File {
    std::string path;
    std::uint64_t num_bytes = 0;  ///< on the disk; a stream: 0
    std::int64_t mtime_ns = 0;    ///< of the last change; a stream: 0
    bool operator==(const File&) const = default;
  };
  /// Of a file: a range of bytes (io/text_parts.hpp), or all of it.
  struct Part {
    std::uint64_t file = 0;
    TextPart range = {};
    bool operator==(const Part&) const = default;
  };
  using Unit = std::vector<Part>;

  /// What shapes the shards besides the files: name and value, for people to compare.
  std::vector<std::pair<std::string, std::string>> settings;
  double bytes_per_token = 0.0;  ///< of a sample
  std::vector<File> files;
  std::vector<Unit> units;  ///< all parts of all files, in order

  /// As JSON, and back. Throws Error (bad_data) for text that is no manifest of this version.
  std::string text() const;
  static CorpusManifest parse(const std::string& text, const std::string& where);
  /// What is not the same here as in the `earlier` one, in a sentence; empty: nothing.
  std::string difference(const CorpusManifest& earlier) const;
  /// Bytes of a unit on the disk.
  std::uint64_t unit_bytes(const Unit& unit) const;
};

}  // namespace espalier::io
