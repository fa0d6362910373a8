#pragma once
#include <cstdint>
#include <filesystem>

#include "io/mapped_file.hpp"
#include "io/packed_tokens.hpp"

namespace espalier::io {

/// A token file of llm.c (dev/data/data_common.py, write_datafile), mapped: 256 i32, of which the
/// first are magic, version and the number of ids, and the ids.
///
///   magic 20240520, version 1   GPT-2, u16
///   magic 20240801, version 7   Llama 3, u32
///
/// Its writers put the token between documents in front of each, and cut the stream into files
/// where a file is full: it may begin within a document.
class LlmcTokens {
 public:
  /// Throws Error (bad_data) naming the file and what is wrong: another format or version, the byte
  /// order of another machine, a number of ids that is not that of the file.
  explicit LlmcTokens(const std::filesystem::path& path);
  PackedTokens tokens() const { return tokens_; }

 private:
  MappedFile file_;
  PackedTokens tokens_;
};

}  // namespace espalier::io
