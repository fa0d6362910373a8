#pragma once
// Kernels of a few lines for the tests of the emulation: how they are run, and what those for
// Hopper have in shared memory.
#include <string>

#include "kernels/cuda/pack.hpp"
#include "kernels/cuda/swizzled_tile.hpp"
#include "kernels/cuda/threads.hpp"
#include "unit/kernels/support.hpp"

namespace espalier::kernels::emulated {

using emulation::settings;

/// Runs body() as a kernel.
template <class Body>
void run(const LaunchShape& shape, const Body& body) {
  launch(
      +[](const Body* b) { (*b)(); }, shape, Queue{}, &body);
}
/// The same; "no error" or what the emulation found.
template <class Body>
std::string error_of(const LaunchShape& shape, const Body& body) {
  try {
    run(shape, body);
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}
inline bool contains(const std::string& text, const char* part) {
  INFO(text);
  CHECK(text.find(part) != std::string::npos);
  return text.find(part) != std::string::npos;
}

/// A matrix of 70 rows and 128 columns of small integers, and a box of 64 of its rows.
struct Numbers {
  testing::Matrix<bf16> matrix{70, 128, 8};

  Numbers() {
    for (std::int64_t r = 0; r < 70; ++r)
      for (std::int64_t c = 0; c < 128; ++c)
        matrix.at(r, c) = bf16(static_cast<float>((r * 7 + c * 3) % 17 - 8));
  }
  float at(std::int64_t r, std::int64_t c) const {
    return r < 70 ? static_cast<float>(matrix(r, c)) : 0.0f;
  }
  TensorMap map() {
    // Two heads of 64 columns: column, head, row, sequence.
    return make_tensor_map(matrix.view().data, {.rank = 4,
                                                .size = {128, 1, 70, 1},
                                                .stride = {1, 128, 136, 70 * 136},
                                                .box = {64, 1, 64, 1}});
  }
};
using Tile = SwizzledTile<64, 128>;

constexpr LaunchShape kOneGroup{
    1, 128, 2 * shared_bytes<bf16>(Tile::kElements) + shared_bytes<std::uint64_t>(4)};

/// What the kernels of this file have in shared memory.
struct Memory {
  SharedAllocator shared;
  SharedArray<bf16> first_place = shared.take<bf16>(Tile::kElements);
  SharedArray<bf16> second_place = shared.take<bf16>(Tile::kElements);
  SharedArray<std::uint64_t> barriers = shared.take<std::uint64_t>(4);
  Tile first{first_place}, second{second_place};
  Barrier barrier(int i) const { return Barrier{barriers.address(i)}; }

  /// A barrier for one arrival, which all know of.
  void make_barriers() const {
    if (thread_index() == 0) {
      for (int i = 0; i < 4; ++i) barrier(i).init(1);
      publish_barriers();
    }
    block_barrier();
  }
  /// The tile of rows first_row .., in place once barrier 0 has ended its phase 0.
  void start(const TensorMap& map, const Tile& tile, int first_row, int i, int bytes) const {
    if (thread_index() != 0) return;
    barrier(i).arrive_expecting(bytes);
    tile.load(map, 0, first_row, 0, barrier(i));
  }
};

}  // namespace espalier::kernels::emulated
