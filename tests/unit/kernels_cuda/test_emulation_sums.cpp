// The emulation of Hopper: floats that one block after the other adds to, in the right order and
// with a mistake that it must name.
#include <functional>

#include "emulation_support.hpp"

namespace espalier::kernels::emulated {

TEST_CASE("floats are added to by one block after the other, each in its turn", "[hopper]") {
  alignas(16) float sums[8];
  std::int32_t counts[2];
  // Each of three blocks adds its number plus one, in the order in which they begin.
  const auto add = [&](bool awaits, bool completes, int too_few = 0) {
    std::fill(std::begin(sums), std::end(sums), -1.0f);
    std::fill(std::begin(counts), std::end(counts), 0);
    return error_of({3, 128, shared_bytes<float>(8)}, [&] {
      SharedAllocator shared;
      const SharedArray<float> part = shared.take<float>(8);
      if (thread_index() != 0) return;
      const int begun = count_one(counts);
      for (int i = 0; i < 8; ++i) part.set(i, static_cast<float>(begun + 1));
      fence_async_proxy();
      if (begun == 0) {
        store_floats(sums, part.address(0), sizeof sums);
      } else {
        if (awaits) wait_for_count(counts + 1, begun - too_few);
        add_floats(sums, part.address(0), sizeof sums);
      }
      commit_stores();
      if (completes) complete_stores<0>();
      publish_count(counts + 1, begun + 1);
      if (!completes) complete_stores<0>();
    });
  };
  for (std::uint64_t seed : {1, 2, 3}) {
    settings().order_seed = seed;
    CHECK(add(true, true) == "no error");
    for (const float sum : sums) CHECK(sum == 6.0f);
    CHECK(counts[0] == 3);
    CHECK(counts[1] == 3);
    contains(add(false, true), "before it has heard that the block before has added");
    contains(add(true, false), "before it has heard that the block before has added");
    // The count is higher by then, but on a device it might not be.
    contains(add(true, true, 1), "before it has heard that the block before has added");
  }
  settings().order_seed = 0;
}

TEST_CASE("sums are read by who has heard that the block's own addition is complete", "[hopper]") {
  alignas(16) float sums[8] = {};
  const auto read = [&](bool meets, int reader, int at) {
    return error_of({1, 128, shared_bytes<float>(8)}, [&] {
      SharedAllocator shared;
      const SharedArray<float> part = shared.take<float>(8);
      if (thread_index() == 0) {
        for (int i = 0; i < 8; ++i) part.set(i, static_cast<float>(i));
        fence_async_proxy();
        store_floats(sums, part.address(0), 16);
        commit_stores();
        complete_stores<0>();
      }
      if (meets) group_barrier(1, 128);
      if (thread_index() != reader) return;
      const Words<4> words = read_sums<4>(sums + at);
      for (int i = 0; i < 4; ++i) CHECK(std::bit_cast<float>(words.at[i]) == static_cast<float>(i));
    });
  };
  CHECK(read(true, 0, 0) == "no error");
  CHECK(read(true, 64, 0) == "no error");
  // Whoever comes first.
  contains(read(false, 127, 0), "thread 127 reads sums");
  contains(read(true, 64, 4), "that no block of this launch has stored");
}

TEST_CASE("stores of floats that are misused are named", "[hopper]") {
  alignas(16) float sums[8] = {};
  std::int32_t count = 0;
  const auto with = [&](auto body) {
    return error_of({1, 128, shared_bytes<float>(8)}, [&] {
      SharedAllocator shared;
      const SharedArray<float> part = shared.take<float>(8);
      if (thread_index() != 0) return;
      for (int i = 0; i < 8; ++i) part.set(i, 1.0f);
      fence_async_proxy();
      body(part);
    });
  };
  contains(with([&](const auto& part) { add_floats(sums, part.address(0), 32); }),
           "that no block of this launch has stored");
  contains(with([&](const auto& part) { store_floats(sums + 1, part.address(0), 16); }),
           "not in whole chunks of 16");
  contains(with([&](const auto& part) { store_floats(sums, part.address(0), 8); }),
           "not in whole chunks of 16");
  contains(with([&](const auto& part) { store_floats(sums, part.address(0), 32); }),
           "while a store of thread 0 still reads");
  contains(with([&](const auto& part) {
             store_floats(sums, part.address(0), 32);
             commit_stores();
             wait_for_stores<0>();
           }),
           "before a store of thread 0 is complete");
  contains(with([&](const auto& part) {
             store_floats(sums, part.address(0), 32);
             commit_stores();
             complete_stores<0>();
             store_floats(sums, part.address(0), 32);
           }),
           "over what a block of this launch has put there");
  contains(with([&](const auto&) { wait_for_count(&count, 1); }),
           "waits for a count of 1, it is 0");
  contains(with([&](const auto& part) {
             store_floats(sums, part.address(0), 32);
             commit_stores();
             part.set(3, 2.0f);
             complete_stores<0>();
           }),
           "which a store still reads");
}

}  // namespace espalier::kernels::emulated
