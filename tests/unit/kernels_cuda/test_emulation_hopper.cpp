// The emulation of Hopper: barriers, copies of boxes and products of a warpgroup in kernels of a
// few lines, right ones and ones with a mistake that it must name.
#include <algorithm>
#include <bit>
#include <functional>
#include <iterator>

#include "kernels/cuda/pack.hpp"
#include "kernels/cuda/swizzled_tile.hpp"
#include "kernels/cuda/threads.hpp"
#include "unit/kernels/support.hpp"

namespace espalier::kernels::emulated {
namespace {

using emulation::settings;

/// Runs body() as a kernel; "no error" or what the emulation found.
template <class Body>
std::string error_of(const LaunchShape& shape, const Body& body) {
  try {
    launch(
        +[](const Body* b) { (*b)(); }, shape, Queue{}, &body);
  } catch (const Error& error) {
    return error.what();
  }
  return "no error";
}
bool contains(const std::string& text, const char* part) {
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

}  // namespace

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

namespace {

/// A product of the first 64 rows by the next ones, done by `products` once both tiles are there.
std::string product(Numbers& numbers,
                    const std::function<void(const Memory&, float (&)[32])>& products) {
  const TensorMap map = numbers.map();
  return error_of(kOneGroup, [&] {
    const Memory memory;
    memory.make_barriers();
    memory.start(map, memory.first, 0, 0, Tile::kBytes);
    memory.start(map, memory.second, 6, 1, Tile::kBytes);
    memory.barrier(0).wait(0);
    memory.barrier(1).wait(0);
    float d[32];
    products(memory, d);
  });
}
void multiply_all(const Memory& memory, float (&d)[32]) {
  multiply(d, memory.first.rows(0, 0), memory.second.rows(0, 0));
  for (int k = 1; k < 8; ++k) multiply_add(d, memory.first.rows(0, k), memory.second.rows(0, k));
}
int row_of(int i) {
  return warp() * 16 + lane() / 4 + i / 2 % 2 * 8;
}
int col_of(int i) {
  return i / 4 * 8 + lane() % 4 * 2 + i % 2;
}

}  // namespace

TEST_CASE("products of rows by rows, and of registers by rows", "[hopper]") {
  Numbers numbers;
  CHECK(product(numbers, [&](const Memory& memory, float(&d)[32]) {
          begin_products(d);
          multiply_all(memory, d);
          end_products();
          wait_for_products<0>(d);
          for (int i = 0; i < 32; ++i) {
            float want = 0.0f;
            for (int k = 0; k < 128; ++k)
              want += numbers.at(row_of(i), k) * numbers.at(6 + col_of(i), k);
            CHECK(d[i] == want);
          }
        }) == "no error");
  CHECK(product(numbers, [&](const Memory& memory, float(&)[32]) {
          float sum[64];
          for (int i = 0; i < 64; ++i) sum[i] = static_cast<float>(i);
          // Columns 0 .. 15 of the first tile as the left operand.
          std::uint32_t left[4];
          for (int i = 0; i < 4; ++i) {
            const int row = row_of(2 * (i % 2)), k = lane() % 4 * 2 + i / 2 * 8;
            left[i] = pair_of_bf16(numbers.at(row, k), numbers.at(row, k + 1));
          }
          begin_products(sum, left);
          multiply_add(sum, left, memory.second.columns(2));
          end_products();
          wait_for_products<0>(sum, left);
          for (int i = 0; i < 64; ++i) {
            float want = static_cast<float>(i);
            for (int k = 0; k < 16; ++k)
              want += numbers.at(row_of(i), k) * numbers.at(6 + 32 + k, col_of(i));
            CHECK(sum[i] == want);
          }
        }) == "no error");
}

TEST_CASE("products of columns by columns", "[hopper]") {
  Numbers numbers;
  // Rows 32 .. 63 of both tiles, columns 0 .. 63 of the first one, 64 .. 127 of the other.
  CHECK(product(numbers, [&](const Memory& memory, float(&d)[32]) {
          begin_products(d);
          multiply_columns(d, memory.first.columns(2), memory.second.columns(2, 1));
          multiply_add_columns(d, memory.first.columns(3), memory.second.columns(3, 1));
          end_products();
          wait_for_products<0>(d);
          for (int i = 0; i < 32; ++i) {
            float want = 0.0f;
            for (int k = 32; k < 64; ++k)
              want += numbers.at(k, row_of(i)) * numbers.at(6 + k, 64 + col_of(i));
            CHECK(d[i] == want);
          }
        }) == "no error");
}

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

TEST_CASE("results of products are unknown until they are waited for", "[hopper]") {
  Numbers numbers;
  CHECK(product(numbers, [](const Memory& memory, float(&d)[32]) {
          begin_products(d);
          multiply_all(memory, d);
          end_products();
          CHECK(std::isnan(d[7]));
          wait_for_products<1>();
          CHECK(std::isnan(d[7]));
          wait_for_products<0>(d);
          CHECK(!std::isnan(d[7]));
        }) == "no error");
  contains(product(numbers,
                   [](const Memory& memory, float(&d)[32]) {
                     begin_products(d);
                     multiply_all(memory, d);
                     end_products();
                     wait_for_products<1>(d);
                   }),
           "still under way");
  contains(product(numbers,
                   [](const Memory& memory, float(&d)[32]) {
                     begin_products(d);
                     multiply_all(memory, d);
                     end_products();
                     d[3] = 0.0f;
                     wait_for_products<0>(d);
                   }),
           "was written before it was waited for");
  contains(product(numbers,
                   [](const Memory& memory, float(&)[32]) {
                     float sum[64] = {};
                     std::uint32_t left[4] = {};
                     begin_products(sum, left);
                     multiply_add(sum, left, memory.second.columns(0));
                     end_products();
                     left[1] = 7;
                     wait_for_products<0>(sum, left);
                   }),
           "changed before it was waited for");
}

TEST_CASE("products want a fence, and all threads of the warpgroup", "[hopper]") {
  Numbers numbers;
  contains(product(numbers, [](const Memory& memory, float(&d)[32]) { multiply_all(memory, d); }),
           "has not fenced its registers");
  contains(product(numbers,
                   [](const Memory& memory, float(&d)[32]) {
                     begin_products(d);
                     multiply_all(memory, d);
                     end_products();
                     wait_for_products<0>(d);
                     multiply_all(memory, d);
                   }),
           "has not fenced its registers");
  contains(product(numbers,
                   [](const Memory& memory, float(&d)[32]) {
                     begin_products(d);
                     if (warp() == 2) return;
                     multiply_all(memory, d);
                     end_products();
                   }),
           "96 of 128 threads wait at");
  contains(product(numbers,
                   [](const Memory& memory, float(&d)[32]) {
                     begin_products(d);
                     if (lane() != 5) multiply_all(memory, d);
                     end_products();
                   }),
           "ask for different products");
  contains(product(numbers,
                   [](const Memory& memory, float(&d)[32]) {
                     begin_products(d);
                     multiply(d, memory.first.rows(0, 0), memory.second.rows(0, warp() % 2));
                     end_products();
                   }),
           "ask for different products");
}

TEST_CASE("what products read must be there, and stay until they are waited for", "[hopper]") {
  Numbers numbers;
  const TensorMap map = numbers.map();
  for (std::uint64_t seed : {1, 2, 3}) {
    settings().order_seed = seed;
    const std::string early = error_of(kOneGroup, [&] {
      const Memory memory;
      memory.make_barriers();
      memory.start(map, memory.first, 0, 0, Tile::kBytes);
      memory.start(map, memory.second, 0, 1, Tile::kBytes);
      memory.barrier(0).wait(0);
      float d[32];
      begin_products(d);
      multiply_all(memory, d);
      end_products();
    });
    CHECK(early != "no error");
    const auto overwrite = [&](bool waited) {
      return product(numbers, [&](const Memory& memory, float(&d)[32]) {
        begin_products(d);
        multiply_all(memory, d);
        end_products();
        if (waited) wait_for_products<0>(d);
        block_barrier();
        memory.start(map, memory.first, 0, 0, Tile::kBytes);
        memory.barrier(0).wait(1);
        wait_for_products<0>(d);
      });
    };
    CHECK(overwrite(true) == "no error");
    contains(overwrite(false), "products of warpgroup 0 read");
  }
  settings().order_seed = 0;
  contains(product(numbers,
                   [](const Memory& memory, float(&d)[32]) {
                     if (thread_index() == 0) memory.first.set_pair(0, 0, 0);
                     block_barrier();
                     begin_products(d);
                     multiply_all(memory, d);
                     end_products();
                   }),
           "has not fenced what it wrote");
}

TEST_CASE("registers are moved between warpgroups, not made", "[hopper]") {
  const auto take = [](auto first, auto second) {
    return error_of({1, 256}, [=] {
      if (thread_index() < 128)
        first();
      else
        second();
    });
  };
  CHECK(take([] { raise_registers<240>(); }, [] { lower_registers<24>(); }) == "no error");
  contains(error_of({1, 384},
                    [] {
                      if (thread_index() < 256)
                        raise_registers<240>();
                      else
                        lower_registers<40>();
                    }),
           "want 520 registers");
}

}  // namespace espalier::kernels::emulated
