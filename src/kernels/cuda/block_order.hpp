#pragma once
// In which order attention's blocks take heads and tiles of rows.
#include <algorithm>
#include <cstdint>

#include "kernels/cuda/port.hpp"

namespace espalier::kernels::ESPALIER_GPU {

/// By sections of heads whose passing matrices lie in the second-level cache together: of a section
/// first all heads' tiles 0, then all their tiles 1, ... Blocks that run at one time then read what
/// others have just read (FlashAttention-3's tile scheduler, with the same 32 MiB).
struct BlockOrder {
  static constexpr std::int64_t kCacheBytes = std::int64_t{32} << 20;

  int num_heads = 0;  ///< of all sequences
  int num_tiles = 0;  ///< of a head
  int section = 1;    ///< heads; the last section may have fewer

  /// `group` neighbouring heads share `passing_bytes`.
  static BlockOrder of(int num_heads, int num_tiles, int group, std::int64_t passing_bytes,
                       std::int64_t cache_bytes = kCacheBytes) {
    const std::int64_t fitting =
        group * std::max<std::int64_t>(1, cache_bytes / std::max<std::int64_t>(1, passing_bytes));
    return {num_heads, num_tiles, static_cast<int>(std::min<std::int64_t>(fitting, num_heads))};
  }
  std::int64_t num_blocks() const { return std::int64_t{num_heads} * num_tiles; }

  struct Place {
    int head, tile;
  };
  ESPALIER_DEVICE Place place(std::int64_t block) const {
    const std::int64_t blocks_per_section = std::int64_t{section} * num_tiles;
    const int first_head = static_cast<int>(block / blocks_per_section) * section;
    const int left = num_heads - first_head;
    const int width = left < section ? left : section;
    const int in_section = static_cast<int>(block % blocks_per_section);
    const int tile = in_section / width;
    return {first_head + in_section - tile * width, tile};
  }
};

}  // namespace espalier::kernels::ESPALIER_GPU
