#pragma once
#include <cstdint>
#include <filesystem>

#include "io/mapped_file.hpp"
#include "io/packed_tokens.hpp"

namespace espalier::io {

/// The two files of an indexed dataset of Megatron-LM (megatron/core/datasets/indexed_dataset.py,
/// IndexedDatasetBuilder), mapped: <prefix>.bin, the ids and nothing else, and <prefix>.idx,
///
///   "MMIDIDX\0\0"   9 bytes
///   version         u64: 1
///   type of ids     u8: 1 uint8, 2 int8, 3 int16, 4 int32, 5 int64, 6 float64, 7 float32, 8 uint16
///   sequences       u64: S
///   documents + 1   u64: M
///   lengths         (S) i32, in ids
///   pointers        (S) i64, in bytes: where each sequence begins in the .bin
///   documents       (M) i64: the first sequence of each document, and S
///
/// A document is the sequences between two of the last; most writers make one of each.
class MegatronTokens {
 public:
  /// Throws Error (bad_data) naming the file and what is wrong: another format or version, the byte
  /// order of another machine, ids that are no integers, a file cut short, an index that is not
  /// that of the .bin.
  MegatronTokens(const std::filesystem::path& index, const std::filesystem::path& data);

  TokenType type() const { return type_; }
  std::uint64_t num_documents() const { return num_documents_; }
  std::uint64_t num_tokens() const { return data_.bytes().size() / bytes_of(type_); }
  /// The first id of a document among those of the .bin. `i` may be num_documents(): the end.
  std::uint64_t first_token(std::uint64_t i) const;
  PackedTokens document(std::uint64_t i) const;

 private:
  void read_header();
  void check_sequences() const;
  void check_documents() const;
  std::int32_t length(std::uint64_t sequence) const;
  std::int64_t pointer(std::uint64_t sequence) const;
  std::int64_t document_index(std::uint64_t i) const;

  MappedFile index_, data_;
  TokenType type_ = TokenType::uint16;
  std::uint64_t num_sequences_ = 0, num_documents_ = 0;
};

}  // namespace espalier::io
