// What the access counter says of kernels of a few lines, whose requests can be counted by hand.
#include "emulation/access_counter.hpp"
#include "kernels/cuda/pack.hpp"
#include "kernels/cuda/swizzled_tile.hpp"
#include "kernels/cuda/threads.hpp"
#include "unit/kernels/support.hpp"

namespace espalier::kernels::emulated {
namespace {

using emulation::AccessCounts;
using emulation::DeviceTraffic;
using emulation::SharedTraffic;

/// Device memory that begins at a multiple of 128 bytes.
struct Memory {
  alignas(128) std::byte bytes[8192] = {};
  template <class T>
  T* at(int i) {
    return reinterpret_cast<T*>(bytes) + i;
  }
};

constexpr int kSharedBytes = 16384;

/// What body() does as a kernel of one warp, or more.
template <class Body>
AccessCounts counts_of(const Body& body, int num_threads = kWarpSize, std::int64_t blocks = 1) {
  emulation::access_counts() = {};
  emulation::settings().count_accesses = true;
  launch(
      +[](const Body* b) { (*b)(); }, {blocks, num_threads, kSharedBytes}, Queue{}, &body);
  emulation::settings().count_accesses = false;
  return emulation::access_counts();
}

void check(const DeviceTraffic& traffic, std::int64_t requests, std::int64_t bytes,
           std::int64_t sectors) {
  CHECK(traffic.requests == requests);
  CHECK(traffic.bytes == bytes);
  CHECK(traffic.sectors == sectors);
}
void check(const SharedTraffic& traffic, std::int64_t requests, std::int64_t wavefronts,
           std::int64_t fewest) {
  CHECK(traffic.requests == requests);
  CHECK(traffic.wavefronts == wavefronts);
  CHECK(traffic.fewest == fewest);
}

/// Shared loads of kCount floats by lane, lane l at float place(l).
template <int kCount, class Place>
SharedTraffic shared_loads(const Place& place) {
  const AccessCounts counts = counts_of([&] {
    SharedAllocator shared;
    const auto array = shared.take<float>(kSharedBytes / 4);
    for (int i = lane(); i < kSharedBytes / 4; i += kWarpSize) array.set(i, 0.0f);
    warp_barrier();
    load(array, place(lane()), Columns<kCount>{});
  });
  CHECK(counts.shared_stores.conflict_factor() == 1.0);
  return counts.shared_loads;
}

}  // namespace

TEST_CASE("requests to device memory and their sectors", "[access]") {
  Memory memory;
  SECTION("neighbours of every width") {
    check(counts_of([&] { load(memory.at<bf16>(lane()), Columns<1>{}); }).loads, 1, 64, 2);
    check(counts_of([&] { load(memory.at<float>(lane()), Columns<1>{}); }).loads, 1, 128, 4);
    check(counts_of([&] { load(memory.at<float>(2 * lane()), Columns<2>{}); }).loads, 1, 256, 8);
    check(counts_of([&] { load(memory.at<bf16>(8 * lane()), Columns<8>{}); }).loads, 1, 512, 16);
  }
  SECTION("32 bytes a lane are two requests, each of which touches all sectors") {
    check(counts_of([&] { load(memory.at<float>(8 * lane()), Columns<8>{}); }).loads, 2, 1024, 64);
  }
  SECTION("every second float: half of each sector") {
    const auto loads = counts_of([&] { load(memory.at<float>(2 * lane()), Columns<1>{}); }).loads;
    check(loads, 1, 128, 8);
    CHECK(loads.sector_factor() == 2.0);
  }
  SECTION("a sector for each lane") {
    check(counts_of([&] { load(memory.at<float>(8 * lane()), Columns<1>{}); }).loads, 1, 128, 32);
  }
  SECTION("rows that begin in the middle of a sector") {
    check(counts_of([&] { load(memory.at<float>(1 + lane()), Columns<1>{}); }).loads, 1, 128, 5);
    check(counts_of([&] { load(memory.at<bf16>(8 + 8 * lane()), Columns<8>{}); }).loads, 1, 512,
          17);
  }
  SECTION("one number for all, and neighbours in any order") {
    check(counts_of([&] { load(memory.at<float>(5), Columns<1>{}); }).loads, 1, 4, 1);
    check(counts_of([&] { load(memory.at<float>(lane() ^ 21), Columns<1>{}); }).loads, 1, 128, 4);
  }
  SECTION("loads, stores, warps and blocks count apart") {
    const AccessCounts counts = counts_of(
        [&] {
          const auto x = load(memory.at<float>(thread_index()), Columns<1>{});
          store(memory.at<float>(thread_index()), x);
        },
        2 * kWarpSize, 3);
    check(counts.loads, 6, 6 * 128, 6 * 4);
    check(counts.stores, 6, 6 * 128, 6 * 4);
    CHECK(counts.device().bytes == 12 * 128);
  }
}

TEST_CASE("lanes that leave a loop early are missing in its last requests", "[access]") {
  Memory memory;
  // 100 floats: three whole requests and one of four lanes.
  const AccessCounts counts = counts_of([&] {
    for (int i = lane(); i < 100; i += kWarpSize) load(memory.at<float>(i), Columns<1>{});
  });
  check(counts.loads, 4, 400, 13);
}

TEST_CASE("a request does not go on behind the place where lanes meet", "[access]") {
  Memory memory;
  // Half of the lanes load before they meet, the others after: never one request.
  const auto half = [&](int which) {
    if (lane() / 16 == which) load(memory.at<float>(lane()), Columns<1>{});
  };
  const auto meeting_at = [&](auto meet) {
    return counts_of([&] {
             half(0);
             meet();
             half(1);
           })
        .loads;
  };
  check(meeting_at([] {}), 1, 128, 4);
  check(meeting_at([] { warp_barrier(); }), 2, 128, 4);
  check(meeting_at([] { block_barrier(); }), 2, 128, 4);
  check(meeting_at([] { shuffle_xor(1.0f, 1); }), 2, 128, 4);
}

TEST_CASE("wavefronts of shared memory", "[access]") {
  SECTION("no conflicts") {
    check(shared_loads<1>([](int l) { return l; }), 1, 1, 1);
    check(shared_loads<1>([](int l) { return 33 * l; }), 1, 1, 1);
    check(shared_loads<1>([](int) { return 7; }), 1, 1, 1);
    check(shared_loads<2>([](int l) { return 2 * l; }), 1, 2, 2);
    check(shared_loads<4>([](int l) { return 4 * l; }), 1, 4, 4);
    // Rows of 36 floats, a lane each, the same columns: attention_rows.hpp.
    check(shared_loads<4>([](int l) { return 36 * l; }), 1, 4, 4);
  }
  SECTION("two, four and 32 lanes want the same bank") {
    check(shared_loads<1>([](int l) { return 2 * l; }), 1, 2, 1);
    check(shared_loads<1>([](int l) { return 4 * l; }), 1, 4, 1);
    check(shared_loads<1>([](int l) { return 32 * l; }), 1, 32, 1);
    check(shared_loads<2>([](int l) { return 4 * l; }), 1, 4, 2);
    check(shared_loads<4>([](int l) { return 32 * l; }), 1, 32, 4);
  }
  SECTION("32 bytes a lane, half of the banks at a time") {
    check(shared_loads<8>([](int l) { return 8 * l; }), 2, 16, 8);
  }
}

TEST_CASE("wavefronts of ldmatrix and of asynchronous copies", "[access]") {
  Memory memory;
  // Rows of 128 bytes: as they are, all rows of a matrix begin in bank 0; with chunk c of row r at
  // c ^ (r % 8) they lie in different ones.
  const auto matrices = [&](bool swizzled) {
    return counts_of([&] {
      SharedAllocator shared;
      const auto tile = shared.take<bf16>(32 * 64);
      const auto element = [&](int row, int chunk) {
        return row * 64 + (swizzled ? chunk ^ (row & 7) : chunk) * 8;
      };
      for (int i = lane(); i < 32 * 8; i += kWarpSize)
        tile.copy_async(element(i / 8, i % 8), memory.at<bf16>(8 * i), true);
      commit_copies();
      wait_for_copies<0>();
      warp_barrier();
      tile.load_matrices(element(lane(), 0));
    });
  };
  const AccessCounts plain = matrices(false);
  check(plain.loads, 8, 4096, 128);
  check(plain.shared_stores, 8, 32, 32);
  check(plain.shared_loads, 1, 32, 4);
  const AccessCounts swizzled = matrices(true);
  check(swizzled.shared_stores, 8, 32, 32);
  check(swizzled.shared_loads, 1, 4, 4);
}

TEST_CASE("a copy that brings zeros loads nothing and keeps the lanes in step", "[access]") {
  Memory memory;
  const AccessCounts counts = counts_of([&] {
    SharedAllocator shared;
    const auto tile = shared.take<bf16>(2 * 32 * 8);
    tile.copy_async(lane() * 8, memory.at<bf16>(8 * lane()), lane() < 20);
    tile.copy_async(256 + lane() * 8, memory.at<bf16>(256 + 8 * lane()), true);
    commit_copies();
    wait_for_copies<0>();
  });
  check(counts.loads, 2, 52 * 16, 26);
  check(counts.shared_stores, 2, 8, 8);
}

TEST_CASE("boxes move the sectors of their rows inside of the tensor", "[access]") {
  Memory memory;
  // Five rows of 64 bf16, boxes of four: the second box has one row inside.
  const TensorMap map = make_tensor_map(
      memory.bytes, {.rank = 2, .size = {64, 5}, .stride = {1, 64}, .box = {64, 4}});
  const AccessCounts counts = counts_of(
      [&] {
        SharedAllocator shared;
        const auto places = shared.take<bf16>(2 * 512);
        const Barrier barrier{shared.take<std::uint64_t>(1).address(0)};
        if (thread_index() == 0) barrier.init(1);
        block_barrier();
        if (thread_index() == 0) {
          barrier.arrive_expecting(1024);
          load_box(map, {0, 0}, places.address(0), barrier);
          load_box(map, {0, 4}, places.address(512), barrier);
        }
      },
      128);
  check(counts.loads, 5, 5 * 128, 5 * 4);
}

TEST_CASE("nothing is counted when nobody asks", "[access]") {
  Memory memory;
  counts_of([&] { load(memory.at<float>(lane()), Columns<1>{}); });
  const auto body = [&] { load(memory.at<float>(lane()), Columns<1>{}); };
  launch(
      +[](const decltype(body)* b) { (*b)(); }, {1, kWarpSize}, Queue{}, &body);
  check(emulation::access_counts().loads, 1, 128, 4);
}

}  // namespace espalier::kernels::emulated
