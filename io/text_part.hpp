#pragma once
#include <cstdint>
#include <limits>

namespace espalier::io {

/// A piece of a file, in bytes as it lies on the disk: see cut_text (io/text_parts.hpp).
struct TextPart {
  static constexpr std::uint64_t kEndOfFile = std::numeric_limits<std::uint64_t>::max();
  std::uint64_t begin = 0;
  std::uint64_t end = kEndOfFile;
  bool operator==(const TextPart&) const = default;
};

}  // namespace espalier::io
