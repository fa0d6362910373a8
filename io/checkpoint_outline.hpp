#pragma once
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "io/checkpoint_format.hpp"

// What master.h5 says, as bytes that one rank tells the others of its job: neither a file nor kept
// anywhere. The outline has what every rank wants whole; the index, which grows with the ranks that
// wrote the checkpoint, comes in parts of which each rank keeps what it will read.

namespace espalier::io {

struct CheckpointOutline {
  CheckpointInfo info;
  std::vector<CheckpointReader::TensorShape> tensors;
  int num_parts = 0;
};
std::string encode_outline(const CheckpointOutline& outline);
CheckpointOutline decode_outline(std::string_view bytes);

/// What one rank wrote: its file's size, and its rectangles in the order of the file.
struct RankEntries {
  int rank = 0;
  std::uint64_t file_bytes = 0;
  std::vector<IndexEntry> entries;
};
std::string encode_part(std::span<const RankEntries> ranks);
std::vector<RankEntries> decode_part(std::string_view bytes);

/// How many entries a part has, about: a megabyte.
inline constexpr std::int64_t kEntriesOfPart = 25'000;

}  // namespace espalier::io
