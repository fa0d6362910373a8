#pragma once
#include <array>
#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "io/json_text.hpp"

namespace espalier::io {

enum class Split : std::uint8_t { train, validation };
constexpr std::size_t kNumSplits = 2;
constexpr const char* kSplitNames[kNumSplits] = {"train", "validation"};

/// What went into the shards of one split.
struct SplitCounts {
  std::uint64_t num_documents = 0;
  std::uint64_t num_bytes = 0;  ///< of text
  std::uint64_t num_tokens = 0;
  std::uint64_t num_shards = 0;
  void add(const SplitCounts& other);
};

/// What became of a unit of input, or of several together.
struct CorpusCounts {
  /// By source, a name that is safe in file names; "": there are no sources.
  std::map<std::string, std::array<SplitCounts, kNumSplits>> sources;
  std::array<std::uint64_t, kNumBadLines> bad_lines{};  ///< passed over, by BadLine
  std::uint64_t empty_documents = 0;                    ///< passed over
  std::uint64_t empty_files = 0;                        ///< files of no bytes
  std::map<std::string, std::string> damaged;           ///< file: why it was not read to its end
  std::uint64_t num_plain = 0;                          ///< files of plain text
  std::vector<std::string> without_separator;  ///< of them, where the separator does not occur
  bool has_separator_with_crlf = false;        ///< in one of these, with \r\n for \n
  struct FileTime {
    std::string path;
    double seconds = 0.0;  ///< that reading, unpacking and parsing took
    std::uint64_t num_bytes = 0;
  };
  std::vector<FileTime> slowest;  ///< at most kMostSlow, the slowest first
  static constexpr std::size_t kMostSlow = 10;

  void add(const CorpusCounts& other);
  void add_time(FileTime time);
  SplitCounts total(Split split) const;
  SplitCounts total() const;

  /// As JSON, and back. Throws Error (bad_data).
  std::string text() const;
  static CorpusCounts parse(const std::string& text, const std::string& where);
};

/// The report at the end of a tokenization, as JSON for programs: sums, sources with each split,
/// skipped lines by reason, damaged and slowest files. `seconds`: of the last job.
std::string corpus_report(const CorpusCounts& counts, const std::string& tokenizer_identity,
                          std::uint64_t num_units, double seconds);

}  // namespace espalier::io
