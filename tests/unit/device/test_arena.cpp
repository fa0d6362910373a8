#include <catch2/catch.hpp>
#include <cstdint>
#include <utility>

#include "device/arena.hpp"

namespace espalier::device {

TEST_CASE("a planning arena counts what a backed one needs", "[arena]") {
  const auto lay_out = [](Arena& arena) {
    return std::pair{arena.allocate("a", DType::bf16, 3, 5), arena.allocate("b", DType::f32, 7, 1)};
  };
  Arena plan = Arena::planning("plan");
  CHECK(lay_out(plan).first.data == nullptr);
  CHECK(plan.is_planning());
  CHECK(plan.used_bytes() == 128);  // 30 and 28 bytes, each in its own 64

  Arena arena = Arena::backed("real", plan.used_bytes());
  CHECK_FALSE(arena.is_planning());
  const auto [a, b] = lay_out(arena);
  CHECK(arena.used_bytes() == plan.used_bytes());
  CHECK(reinterpret_cast<std::uintptr_t>(b.data) % Arena::kAlignment == 0);
  CHECK(static_cast<char*>(b.data) - static_cast<char*>(a.data) == 64);
  for (std::int64_t i = 0; i < 7; ++i) CHECK(b.as<float>(i)[0] == 0.0f);
  REQUIRE(arena.allocations().size() == 2);
  CHECK(arena.allocations()[1].label == "b");
  CHECK(arena.allocations()[1].offset_bytes == 64);
  CHECK(arena.allocations()[1].size_bytes == 28);
  CHECK_THROWS_AS(arena.allocate("c", DType::f32, 1 << 20, 1), Error);

  Arena moved = std::move(arena);
  CHECK(moved.used_bytes() == 128);
  b.as<float>()[0] = 1.0f;  // the memory moved with its owner
}

TEST_CASE("views name rows, columns and types", "[view]") {
  float numbers[24] = {};
  const View all = view_of(numbers, 4, 6);
  const View part = all.row_range(1, 2).col_range(2, 3);
  part.as<float>(1)[0] = 5.0f;
  CHECK(numbers[2 * 6 + 2] == 5.0f);
  CHECK(part.size() == 6);
  CHECK_FALSE(part.is_contiguous());
  CHECK(all.is_contiguous());
  CHECK_THROWS_AS(all.as<bf16>(), Error);
  CHECK_THROWS_AS(all.row_range(3, 2), Error);
  CHECK_THROWS_AS(all.col_range(-1, 2), Error);
  CHECK(describe(all) == "(4, 6) float32");
}

TEST_CASE("parts of an arena add up to it, padding and all, and may be gone on with") {
  Arena arena = Arena::planning("test");
  arena.allocate("before any part", DType::f32, 1, 1);
  arena.begin_part("kept");
  arena.allocate("a", DType::bf16, 3, 5);
  arena.begin_part("scratch");
  arena.allocate("b", DType::f32, 7, 100);
  arena.begin_part("kept");
  arena.allocate("c", DType::f64, 1, 9);
  const auto parts = arena.parts();
  REQUIRE(parts.size() == 3);
  CHECK(parts[0].name.empty());
  CHECK(parts[0].bytes == 64);
  CHECK(parts[1].name == "kept");
  CHECK(parts[1].bytes == 64 + 128);
  CHECK(parts[2].name == "scratch");
  CHECK(parts[2].bytes == 2816);
  CHECK(parts[0].bytes + parts[1].bytes + parts[2].bytes == arena.used_bytes());
}

}  // namespace espalier::device
