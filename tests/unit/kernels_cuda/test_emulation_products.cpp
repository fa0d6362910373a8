// The emulation of Hopper: products of a warpgroup, right ones and ones with a mistake that it must
// name.
#include <algorithm>
#include <bit>
#include <functional>
#include <iterator>

#include "emulation_support.hpp"

namespace espalier::kernels::emulated {

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
