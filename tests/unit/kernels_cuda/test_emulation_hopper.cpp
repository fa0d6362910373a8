// The emulation of Hopper: barriers and copies of boxes in kernels of a few lines, right ones and
// ones with a mistake that it must name.
#include <functional>

#include "emulation_support.hpp"

namespace espalier::kernels::emulated {

TEST_CASE("boxes come swizzled, with zeros outside of the tensor", "[hopper]") {
  Numbers numbers;
  const TensorMap map = numbers.map();
  const std::string error = error_of(kOneGroup, [&] {
    const Memory memory;
    memory.make_barriers();
    memory.start(map, memory.first, 10, 0, Tile::kBytes);
    memory.barrier(0).wait(0);
    for (int i = thread_index(); i < Tile::kElements; i += num_threads()) {
      const int row = i / 128, col = i % 128;
      const int place = col / 64 * 64 * 64 + row * 64 + ((col % 64 / 8) ^ (row % 8)) * 8 + col % 8;
      CHECK(to_float(memory.first_place.get(place)) == numbers.at(10 + row, col));
    }
  });
  CHECK(error == "no error");
}

TEST_CASE("stores of boxes write nothing outside of the tensor, and want a fence", "[hopper]") {
  for (const bool fenced : {true, false}) {
    Numbers numbers;
    numbers.matrix.fill(0.0);
    const TensorMap map = numbers.map();
    const std::string error = error_of(kOneGroup, [&] {
      const Memory memory;
      for (int i = thread_index(); i < Tile::kElements / 2; i += num_threads())
        memory.first.set_pair(i / 64, i % 64 * 2,
                              pair_of_bf16(static_cast<float>(i / 64), static_cast<float>(i % 64)));
      if (fenced) fence_async_proxy();
      group_barrier(1, 128);
      if (thread_index() == 0) {
        memory.first.store(map, 0, 20, 0, 0);
        commit_stores();
        wait_for_stores<0>();
      }
    });
    if (!fenced) {
      contains(error, "has not fenced what it wrote");
      continue;
    }
    CHECK(error == "no error");
    CHECK(numbers.matrix.padding_untouched());
    CHECK(numbers.matrix(19, 5) == 0.0);
    CHECK(numbers.matrix(20 + 30, 64) == 30.0);
    CHECK(numbers.matrix(20 + 30, 65) == 32.0);
    CHECK(numbers.matrix(69, 127) == 63.0);
  }
}

TEST_CASE("a store that nobody waits for, or whose source changes meanwhile, is found",
          "[hopper]") {
  Numbers numbers;
  const TensorMap map = numbers.map();
  const auto store = [&](auto afterwards) {
    return error_of(kOneGroup, [&] {
      const Memory memory;
      for (int i = thread_index(); i < Tile::kElements / 2; i += num_threads())
        memory.first.set_pair(i / 64, i % 64 * 2, 0);
      fence_async_proxy();
      block_barrier();
      if (thread_index() != 0) return;
      memory.first.store(map, 0, 0, 0, 0);
      commit_stores();
      afterwards(memory);
    });
  };
  CHECK(store([](const Memory&) { wait_for_stores<0>(); }) == "no error");
  contains(store([](const Memory&) {}), "while a store of thread 0 still reads");
  contains(store([](const Memory&) { wait_for_stores<1>(); }), "while a store of thread 0");
  contains(store([](const Memory& memory) { memory.first.set_pair(3, 4, 0); }),
           "which a store still reads");
}

TEST_CASE("a barrier that expects too many or too few bytes is found", "[hopper]") {
  Numbers numbers;
  const TensorMap map = numbers.map();
  const auto load = [&](int bytes) {
    return error_of(kOneGroup, [&] {
      const Memory memory;
      memory.make_barriers();
      memory.start(map, memory.first, 0, 0, bytes);
      memory.barrier(0).wait(0);
    });
  };
  CHECK(load(Tile::kBytes) == "no error");
  contains(load(Tile::kBytes + 16), "16400 bytes are expected and 16384 copied");
  contains(load(Tile::kBytes - 16), "copies bring 16384");
}

TEST_CASE("copied bytes cannot be used without waiting for the right phase", "[hopper]") {
  Numbers numbers;
  const TensorMap map = numbers.map();
  for (std::uint64_t seed : {1, 2, 3, 4}) {
    settings().order_seed = seed;
    const auto load = [&](auto wait) {
      return error_of(kOneGroup, [&] {
        const Memory memory;
        memory.make_barriers();
        memory.start(map, memory.first, 0, 0, Tile::kBytes);
        memory.start(map, memory.second, 0, 1, Tile::kBytes);
        wait(memory);
        memory.first_place.get(thread_index());
      });
    };
    CHECK(load([](const Memory& memory) { memory.barrier(0).wait(0); }) == "no error");
    CHECK(load([](const Memory&) {}) != "no error");
    // A new barrier lets waits for the other parity pass.
    CHECK(load([](const Memory& memory) { memory.barrier(0).wait(1); }) != "no error");
    CHECK(load([](const Memory& memory) { memory.barrier(1).wait(0); }) != "no error");
    // A barrier of the block does not wait for copies.
    CHECK(load([](const Memory&) { block_barrier(); }) != "no error");
    CHECK(load([](const Memory& memory) {
            if (warp() == 1) memory.barrier(0).wait(0);
            group_barrier(2, 128);
          }) == "no error");
  }
  settings().order_seed = 0;
}

TEST_CASE("a tile is overwritten only once its readers have arrived", "[hopper]") {
  Numbers numbers;
  const TensorMap map = numbers.map();
  for (std::uint64_t seed : {1, 2, 3, 4}) {
    settings().order_seed = seed;
    const auto twice = [&](bool readers_arrive, bool copier_waits) {
      return error_of(kOneGroup, [&] {
        const Memory memory;
        if (thread_index() == 0) {
          memory.barrier(0).init(1);
          memory.barrier(1).init(96);
        }
        block_barrier();
        memory.start(map, memory.first, 0, 0, Tile::kBytes);
        if (warp() > 0) {
          memory.barrier(0).wait(0);
          if (!readers_arrive) memory.barrier(1).arrive();
          memory.first_place.get(thread_index());
          if (readers_arrive) memory.barrier(1).arrive();
        } else if (thread_index() == 0) {
          if (copier_waits) memory.barrier(1).wait(0);
          memory.start(map, memory.first, 5, 0, Tile::kBytes);
        }
        if (warp() > 0) memory.barrier(0).wait(1);
      });
    };
    CHECK(twice(true, true) == "no error");
    CHECK(twice(true, false) != "no error");
    contains(twice(false, true), "race on byte");
  }
  settings().order_seed = 0;
}

TEST_CASE("of several readers of one place, each must have met who overwrites it", "[hopper]") {
  for (const int num_arrivals : {96, 95}) {
    const std::string error = error_of(kOneGroup, [&] {
      const Memory memory;
      if (thread_index() == 0) {
        memory.barrier(0).init(num_arrivals);
        memory.first_place.set(0, bf16(1.0f));
      }
      block_barrier();
      if (thread_index() >= 32) {
        memory.first_place.get(0);
        if (thread_index() < 32 + num_arrivals) memory.barrier(0).arrive();
      } else if (thread_index() == 0) {
        memory.barrier(0).wait(0);
        memory.first_place.set(0, bf16(2.0f));
      }
    });
    if (num_arrivals == 96)
      CHECK(error == "no error");
    else
      CHECK(error != "no error");
  }
}

TEST_CASE("barriers that are misused are named", "[hopper]") {
  contains(error_of(kOneGroup, [] { Memory().barrier(0).wait(0); }), "not initialised");
  contains(error_of(kOneGroup,
                    [] {
                      const Memory memory;
                      if (thread_index() == 0)
                        for (int i = 0; i < 4; ++i) memory.barrier(i).init(128);
                      warp_barrier();
                      memory.barrier(0).arrive();
                    }),
           "barrier");
  contains(error_of(kOneGroup,
                    [] {
                      const Memory memory;
                      memory.make_barriers();
                      if (thread_index() == 0) memory.barrier(0).arrive();
                      memory.barrier(0).wait(0);
                      memory.barrier(1).wait(0);
                    }),
           "128 threads wait at test_emulation_hopper.cpp:");
  contains(error_of(kOneGroup,
                    [] {
                      const Memory memory;
                      memory.make_barriers();
                      memory.barrier(0).arrive_expecting(16);
                    }),
           "more than 1 arrivals");
  contains(error_of(kOneGroup,
                    [] {
                      if (thread_index() < 96) group_barrier(3, 128);
                    }),
           "96 of 128 threads have come to named barrier 3 of block 0, 96 threads wait at "
           "test_emulation_hopper.cpp:");
}

TEST_CASE("who waits at a named barrier learns what those knew who arrived, not they from it",
          "[hopper]") {
  constexpr LaunchShape kTwoGroups{1, 256, shared_bytes<bf16>(1)};
  for (std::uint64_t seed : {1, 2, 3, 4}) {
    settings().order_seed = seed;
    /// One thread writes what another reads or writes, with a barrier between.
    const auto hand_over = [&](auto first, auto second) {
      return error_of(kTwoGroups, [&] {
        const SharedArray<bf16> place = SharedAllocator().take<bf16>(1);
        if (warp() < 4) {
          if (thread_index() == 0) place.set(0, bf16(1.0f));
          first();
        } else {
          second();
          if (thread_index() != 255) return;
          const float got = to_float(place.get(0));  // what it throws, CHECK would take for itself
          CHECK(got == 1.0f);
        }
      });
    };
    const auto arrive = [] { arrive_at_group_barrier(5, 256); };
    const auto wait = [] { group_barrier(5, 256); };
    CHECK(hand_over(arrive, wait) == "no error");
    CHECK(hand_over(wait, wait) == "no error");
    CHECK(hand_over(wait, arrive) != "no error");
    CHECK(hand_over(arrive, arrive) != "no error");
    // Twice, each the other's turn, as consumers that alternate.
    CHECK(error_of(kTwoGroups, [&] {
            const SharedArray<bf16> place = SharedAllocator().take<bf16>(1);
            const int group = warp() / 4;
            for (int turn = 0; turn < 3; ++turn) {
              if (group == 1 || turn > 0) group_barrier(1 + group, 256);
              if (thread_index() % 128 == 7)
                place.set(0, bf16(static_cast<float>(2 * turn + group)));
              if (group == 0 || turn < 2) arrive_at_group_barrier(2 - group, 256);
            }
          }) == "no error");
  }
  settings().order_seed = 0;
}

TEST_CASE("arrivals at named barriers that do not add up are named", "[hopper]") {
  constexpr LaunchShape kTwoGroups{1, 256, 0};
  const auto of_groups = [&](auto first, auto second) {
    return error_of(kTwoGroups, [&] { warp() < 4 ? first() : second(); });
  };
  const auto wait = [] { group_barrier(5, 256); };
  const auto arrive = [] { arrive_at_group_barrier(5, 256); };
  const auto nothing = [] {};
  contains(of_groups(wait, nothing), "128 of 256 threads have come to named barrier 5");
  contains(of_groups(arrive, nothing), "128 have arrived at test_emulation_hopper.cpp:");
  contains(of_groups(wait,
                     [] {
                       if (warp() < 7) arrive_at_group_barrier(5, 256);
                     }),
           "224 of 256 threads have come to named barrier 5");
  contains(of_groups(
               [] {
                 for (int i = 0; i < 2; ++i) arrive_at_group_barrier(5, 256);
               },
               nothing),
           "again");
  contains(of_groups(wait, [] { arrive_at_group_barrier(5, 128); }), "threads, others to one of");
  contains(of_groups(wait, [] { arrive_at_group_barrier(6, 256); }), "have come to named barrier");
  contains(of_groups(wait, [] { arrive_at_group_barrier(16, 256); }), "named barrier 16");
  contains(of_groups(wait, [] { arrive_at_group_barrier(5, 250); }), "of 250 threads");
}

}  // namespace espalier::kernels::emulated
