#include <algorithm>
#include <catch2/catch.hpp>
#include <set>
#include <vector>

#include "base/error.hpp"
#include "data/sample_order.hpp"

using espalier::data::Permutation;
using espalier::data::SampleOrder;

namespace {

std::vector<std::uint64_t> values(std::uint64_t size, std::uint64_t seed, std::uint64_t epoch) {
  const Permutation permutation(size, seed, epoch);
  std::vector<std::uint64_t> out;
  for (std::uint64_t i = 0; i < size; ++i) out.push_back(permutation(i));
  return out;
}

bool is_permutation_of_all(std::vector<std::uint64_t> found) {
  std::sort(found.begin(), found.end());
  for (std::uint64_t i = 0; i < found.size(); ++i)
    if (found[i] != i) return false;
  return true;
}

}  // namespace

TEST_CASE("A permutation takes every value of its domain once", "[data]") {
  for (std::uint64_t size = 1; size <= 130; ++size)
    for (std::uint64_t seed : {0u, 1u, 42u}) {
      INFO("size " << size << " seed " << seed);
      REQUIRE(is_permutation_of_all(values(size, seed, seed + 3)));
    }
  for (std::uint64_t size : {1023u, 1024u, 1025u, 4096u, 4097u, 65537u, 99991u})
    REQUIRE(is_permutation_of_all(values(size, 7, 0)));
}

TEST_CASE("A permutation of a huge domain stays inside it and does not repeat", "[data]") {
  for (std::uint64_t size : {(std::uint64_t{1} << 32) - 1, (std::uint64_t{1} << 40) + 1,
                             std::uint64_t{0xFFFFFFFFFFFFFFFF}}) {
    const Permutation permutation(size, 3, 1);
    std::set<std::uint64_t> seen;
    for (std::uint64_t i = 0; i < 2000; ++i) {
      const std::uint64_t value = permutation(i < 1000 ? i : size - 1 - (i - 1000));
      REQUIRE(value < size);
      REQUIRE(seen.insert(value).second);
    }
  }
}

TEST_CASE("Seeds and epochs give other permutations, the same ones give the same", "[data]") {
  const auto base = values(1000, 5, 0);
  CHECK(base == values(1000, 5, 0));
  CHECK(base != values(1000, 6, 0));
  CHECK(base != values(1000, 5, 1));
  CHECK(base != values(1000, 5 + (std::uint64_t{1} << 32), 0));
  CHECK(base != values(1000, 5, std::uint64_t{1} << 32));
}

TEST_CASE("The values of a permutation are spread evenly", "[data]") {
  // Chi-square of (tenth of the index, tenth of the value) over 100 cells: 81 degrees of freedom,
  // standard deviation 12.7; 160 is over six of them away.
  const std::uint64_t size = 50'000;
  const Permutation permutation(size, 11, 2);
  std::vector<double> cells(100, 0.0);
  for (std::uint64_t i = 0; i < size; ++i)
    cells[i * 10 / size * 10 + permutation(i) * 10 / size] += 1.0;
  double chi_square = 0.0;
  for (double count : cells) chi_square += (count - 500.0) * (count - 500.0) / 500.0;
  CHECK(chi_square < 160.0);
  CHECK(chi_square > 30.0);
}

TEST_CASE("Permutations of small domains reach every arrangement", "[data]") {
  std::set<std::vector<std::uint64_t>> seen;
  for (std::uint64_t epoch = 0; epoch < 400; ++epoch) seen.insert(values(3, 1, epoch));
  CHECK(seen.size() == 6);
}

TEST_CASE("A sample order visits every sample once per epoch, in another order", "[data]") {
  const SampleOrder order(101, 9, true);
  std::vector<std::vector<std::uint64_t>> epochs(3);
  for (std::uint64_t g = 0; g < 303; ++g) {
    CHECK(order.epoch(g) == g / 101);
    epochs[g / 101].push_back(order.sample(g));
  }
  for (const auto& epoch : epochs) CHECK(is_permutation_of_all(epoch));
  CHECK(epochs[0] != epochs[1]);
  CHECK(epochs[1] != epochs[2]);
  CHECK(epochs[0] == values(101, 9, 0));
}

TEST_CASE("A sequential order counts through the epoch", "[data]") {
  const SampleOrder order(5, 9, false);
  for (std::uint64_t g = 0; g < 20; ++g) CHECK(order.sample(g) == g % 5);
}

TEST_CASE("One sample can be repeated for ever; none cannot", "[data]") {
  const SampleOrder order(1, 0, true);
  CHECK(order.sample(12345) == 0);
  CHECK_THROWS_AS(SampleOrder(0, 0, true), espalier::Error);
  CHECK_THROWS_AS(Permutation(0, 0, 0), espalier::Error);
  CHECK_THROWS_AS(Permutation(4, 0, 0)(4), espalier::Error);
}
