// Descriptors as plain numbers, from sources outside of this project (kernels/cuda/README.md): the
// emulation reads them as the kernels write them, and would not find a mistake of both.
#include "kernels/cuda/pack.hpp"
#include "kernels/cuda/swizzled_tile.hpp"
#include "kernels/cuda/threads.hpp"
#include "unit/kernels/support.hpp"

namespace espalier::kernels::emulated {
namespace {

struct Fields {
  std::uint64_t address, leading, stride, base, swizzle;

  explicit Fields(std::uint64_t bits)
      : address(bits & 0x3fff),
        leading(bits >> 16 & 0x3fff),
        stride(bits >> 32 & 0x3fff),
        base(bits >> 49 & 7),
        swizzle(bits >> 62) {}
};

/// Runs body(tile, its address in units of 16 bytes) as a kernel of one warp.
template <int kRows, int kCols, class Body>
void with_tile(const Body& body) {
  using Tile = SwizzledTile<kRows, kCols>;
  const auto kernel = [&] {
    SharedAllocator shared;
    const SharedArray<bf16> place = shared.take<bf16>(Tile::kElements);
    if (thread_index() == 0)
      body(Tile(place), static_cast<std::uint64_t>(place.address(0)) >> 4 & 0x3fff);
  };
  using Kernel = decltype(kernel);
  launch(
      +[](const Kernel* k) { (*k)(); }, LaunchShape{1, 32, shared_bytes<bf16>(Tile::kElements)},
      Queue{}, &kernel);
}

}  // namespace

TEST_CASE("an operand summed along its rows: stride 1024 bytes, 32 bytes to the next", "[hopper]") {
  with_tile<128, 128>([](const auto& tile, std::uint64_t address) {
    for (int d = 0; d < 8; ++d) {
      const Fields fields(tile.rows(64, d));
      // 64 rows are 8 KiB, a panel of 64 columns has 16 KiB.
      CHECK(fields.address ==
            address + 512 + std::uint64_t(d / 4) * 1024 + std::uint64_t(d % 4) * 2);
      CHECK(fields.stride == 64);
      CHECK(fields.base == 0);
      CHECK(fields.swizzle == 1);
    }
  });
}

TEST_CASE("an operand summed across its rows: from panel to panel, and 2 KiB to the next",
          "[hopper]") {
  with_tile<64, 128>([](const auto& tile, std::uint64_t address) {
    for (int k = 0; k < 4; ++k) {
      const Fields fields(tile.columns(k));
      CHECK(fields.address == address + std::uint64_t(k) * 128);
      CHECK(fields.leading == 512);
      CHECK(fields.stride == 64);
      CHECK(fields.base == 0);
      CHECK(fields.swizzle == 1);
    }
  });
}

}  // namespace espalier::kernels::emulated
