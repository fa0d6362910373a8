#include <catch2/catch.hpp>
#include <limits>

#include "base/error.hpp"
#include "device/view.hpp"
#include "rank_data.hpp"

using namespace espalier;
using namespace espalier::testing;
using device::view_of;

namespace {

// From one cache line (dozens of rounds) to the program's own limit (one round).
const std::vector<std::int64_t> kLimits{64, 4096, parallel::MpiCommunicator::kMaxMessageBytes};
const std::vector<std::int64_t> kCounts{0, 1, 3, 63, 1000, 8192, 30011};

template <class T>
void check_all_reduce(parallel::Communicator& group, std::int64_t count) {
  std::vector<T> expected;
  for (std::int64_t i = 0; i < count; ++i) expected.push_back(summed<T>(group.size(), i));
  for (int run = 0; run < 2; ++run) {
    auto data = data_of<T>(group.rank(), count);
    group.all_reduce_sum(view_of(data.data(), 1, count));
    REQUIRE(same_bits(data, expected));
    REQUIRE(same_everywhere(group, data));
  }
}

template <class T>
void check_all_gather(parallel::Communicator& group, std::int64_t rows, std::int64_t cols) {
  const std::int64_t count = rows * cols;
  std::vector<T> expected;
  for (int r = 0; r < group.size(); ++r)
    for (std::int64_t i = 0; i < count; ++i) expected.push_back(element<T>(r, i));

  const auto mine = data_of<T>(group.rank(), count);
  std::vector<T> all(expected.size());
  const auto out = view_of(all.data(), group.size() * rows, cols);
  group.all_gather(out, view_of(mine.data(), rows, cols));
  REQUIRE(same_bits(all, expected));

  std::vector<T> in_place(expected.size());
  std::copy(mine.begin(), mine.end(), in_place.begin() + group.rank() * count);
  const auto place = view_of(in_place.data(), group.size() * rows, cols);
  group.all_gather(place, place.row_range(group.rank() * rows, rows));
  REQUIRE(same_bits(in_place, expected));
}

template <class T>
void check_reduce_scatter(parallel::Communicator& group, std::int64_t rows, std::int64_t cols) {
  const std::int64_t count = rows * cols;
  std::vector<T> expected;
  for (std::int64_t i = 0; i < count; ++i)
    expected.push_back(summed<T>(group.size(), group.rank() * count + i));

  auto data = data_of<T>(group.rank(), group.size() * count);
  const auto original = data;
  std::vector<T> separate(expected.size());
  const auto in = view_of(data.data(), group.size() * rows, cols);
  group.reduce_scatter_sum(view_of(separate.data(), rows, cols), in);
  REQUIRE(same_bits(separate, expected));
  REQUIRE(same_bits(data, original));  // the input is only read

  const auto place = in.row_range(group.rank() * rows, rows);
  group.reduce_scatter_sum(place, in);
  REQUIRE(same_bits(place.template as<T>(), expected.data(), count));
}

}  // namespace

TEST_CASE("all-reduce sums in rank order with the same bits everywhere") {
  for (std::int64_t limit : kLimits) {
    const auto group = world_with_limit(limit);
    for (std::int64_t count : kCounts) {
      check_all_reduce<float>(*group, count);
      check_all_reduce<bf16>(*group, count);
    }
  }
}

TEST_CASE("bf16 is rounded once") {
  const auto group = world_with_limit(64);
  for (std::int64_t count : {1, 40000}) {  // one exchange; reduce-scatter and all-gather
    // 256 on rank 0 and 1/2 on the others: a bf16 partial sum would stay at 256.
    std::vector<bf16> data(static_cast<std::size_t>(count),
                           bf16(group->rank() == 0 ? 256.0F : 1.0F));
    group->all_reduce_sum(view_of(data.data(), 1, count));
    const float sum = 255.0F + static_cast<float>(group->size());
    for (const bf16 value : data) REQUIRE(value.bits == bf16(sum).bits);
  }
}

TEST_CASE("all-gather puts the ranks' rows in rank order") {
  for (std::int64_t limit : kLimits) {
    const auto group = world_with_limit(limit);
    for (std::int64_t rows : {0, 1, 5, 300}) {
      check_all_gather<float>(*group, rows, 7);
      check_all_gather<bf16>(*group, rows, 33);
      check_all_gather<std::uint32_t>(*group, rows, 1);
    }
  }
}

TEST_CASE("reduce-scatter leaves each rank its rows of the sum") {
  for (std::int64_t limit : kLimits) {
    const auto group = world_with_limit(limit);
    for (std::int64_t rows : {0, 1, 5, 300}) {
      check_reduce_scatter<float>(*group, rows, 7);
      check_reduce_scatter<bf16>(*group, rows, 33);
    }
  }
}

TEST_CASE("more data than the staging holds passes through it in rounds") {
  const auto group = world_with_limit(parallel::MpiCommunicator::kMaxMessageBytes);
  check_all_reduce<float>(*group, 6'000'011);
  check_reduce_scatter<bf16>(*group, 1, 3'000'001);
}

TEST_CASE("a reduce-scatter sends every byte that others own once") {
  const auto group = world_with_limit(4096);
  std::vector<float> data(static_cast<std::size_t>(1000 * group->size()));
  const std::int64_t before = group->bytes_sent();
  group->reduce_scatter_sum(view_of(data.data() + 1000 * group->rank(), 1000, 1),
                            view_of(data.data(), 1000 * group->size(), 1));
  REQUIRE(group->bytes_sent() - before == 4000 * (group->size() - 1));
}

TEST_CASE("host values are combined in rank order") {
  const auto group = world_with_limit(64);
  const int n = group->size();
  const double own = group->rank() == 0 ? 1.0e16 : 1.0 + group->rank();
  std::vector<double> sums{own, -own, 0.5};
  group->all_reduce_sum(sums);
  double expected = 1.0e16;
  for (int r = 1; r < n; ++r) expected += 1.0 + r;
  REQUIRE(sums == std::vector<double>{expected, -expected, 0.5 * n});
  REQUIRE(same_everywhere(*group, sums));

  std::vector<double> highest{static_cast<double>(group->rank()), -1.0 * group->rank()};
  auto lowest = highest;
  group->all_reduce_max(highest);
  group->all_reduce_min(lowest);
  REQUIRE(highest == std::vector<double>{n - 1.0, 0.0});
  REQUIRE(lowest == std::vector<double>{0.0, 1.0 - n});

  const auto all = group->all_gather(own);
  REQUIRE(all.size() == static_cast<std::size_t>(n));
  for (int r = 0; r < n; ++r)
    REQUIRE(all[static_cast<std::size_t>(r)] == (r == 0 ? 1.0e16 : 1.0 + r));
}

TEST_CASE("a value that is not a number is seen by every rank") {
  const auto group = world_with_limit(64);
  for (int bad = 0; bad < group->size(); ++bad) {
    const double own = group->rank() == bad ? std::numeric_limits<double>::quiet_NaN() : 1.0;
    for (const auto reduce :
         {&parallel::Communicator::all_reduce_max, &parallel::Communicator::all_reduce_min}) {
      std::vector<double> values{own};
      (group.get()->*reduce)(values);
      REQUIRE(std::isnan(values[0]));
    }
  }
}

TEST_CASE("texts and buffers go from one rank to all and from all to all") {
  const auto group = world_with_limit(64);
  const auto text_of = [](int rank) { return std::string(static_cast<std::size_t>(rank), 'x'); };
  for (int root = 0; root < group->size(); ++root) {
    REQUIRE(group->broadcast("from " + std::to_string(group->rank()), root) ==
            "from " + std::to_string(root));
    auto data = data_of<float>(group->rank(), 1000);
    group->broadcast(view_of(data.data(), 10, 100), root);
    REQUIRE(same_bits(data, data_of<float>(root, 1000)));
  }
  const auto texts = group->all_gather(text_of(group->rank()));
  REQUIRE(texts.size() == static_cast<std::size_t>(group->size()));
  for (int r = 0; r < group->size(); ++r) REQUIRE(texts[static_cast<std::size_t>(r)] == text_of(r));
  group->barrier();
}

TEST_CASE("shapes that do not fit the group are a programmer's error") {
  const auto group = world_with_limit(64);
  std::vector<float> data(100);
  const auto view = view_of(data.data(), 100, 1);
  REQUIRE_THROWS_AS(group->all_gather(view, view.row_range(0, 99)), Error);
  REQUIRE_THROWS_AS(group->reduce_scatter_sum(view.row_range(0, 99), view), Error);
  const auto columns = view_of(data.data(), 10, 10).col_range(0, 5);
  REQUIRE_THROWS_AS(group->all_reduce_sum(columns), Error);
}

TEST_CASE("a failing MPI call is named with MPI's own text") {
  const auto group = world_with_limit(64);
  try {
    group->broadcast("text", group->size());
    FAIL("a root outside the group was accepted");
  } catch (const Error& error) {
    REQUIRE(error.status() == ExitStatus::internal);
    REQUIRE_THAT(error.what(), Catch::Contains("MPI_Bcast failed: MPI_ERR_ROOT"));
  }
}

// 2^31 elements: counts beyond int. Needs 4 GB per rank; run by name.
TEST_CASE("counts beyond 2^31", "[.large]") {
  const auto group = world_with_limit(parallel::MpiCommunicator::kMaxMessageBytes);
  const std::int64_t count = (std::int64_t{1} << 31) + 12345;
  std::vector<bf16> data(static_cast<std::size_t>(count), bf16(1.0F + group->rank()));
  group->all_reduce_sum(view_of(data.data(), 1, count));
  float expected = 0.0F;
  for (int r = 0; r < group->size(); ++r) expected += 1.0F + r;
  for (std::int64_t i = 0; i < count; i += 4099)
    REQUIRE(static_cast<float>(data[static_cast<std::size_t>(i)]) == expected);
  REQUIRE(static_cast<float>(data.back()) == expected);
}
