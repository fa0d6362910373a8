#include "parallel/boundary.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>
#include <vector>

#include "base/error.hpp"
#include "rank_data.hpp"

using namespace espalier;
using namespace espalier::testing;
using device::ConstView;
using device::view_of;
using parallel::TensorBoundary;

namespace {

constexpr std::int64_t kTokens = 24;  // divisible by 1, 2, 3 and 4
constexpr std::int64_t kHidden = 10;

/// Small whole numbers: every sum below is exact, so the two inner products must be equal.
std::vector<float> whole_numbers(int stream, std::int64_t rows) {
  auto data = data_of<float>(stream, rows * kHidden);
  for (float& value : data) value = std::round(std::fmod(value, 16.0F));
  return data;
}

double inner(ConstView a, ConstView b) {
  REQUIRE(a.rows == b.rows);
  double sum = 0.0;
  for (std::int64_t i = 0; i < a.size(); ++i)
    sum += static_cast<double>(a.as<float>()[i]) * b.as<float>()[i];
  return sum;
}

/// <x, y> where both are spread over the group: between blocks the tokens may be split or each rank
/// holds a copy of all, and a copy counts once.
double spread_inner(parallel::Communicator& group, bool split, ConstView a, ConstView b) {
  std::vector<double> sum{split || group.rank() == 0 ? inner(a, b) : 0.0};
  group.all_reduce_sum(sum);
  return sum[0];
}

}  // namespace

TEST_CASE("each boundary's backward is the adjoint of its forward") {
  const auto group = world_with_limit(64);
  device::Context context;
  for (bool sequence_parallel : {false, true}) {
    const TensorBoundary boundary(*group, sequence_parallel);
    const bool split = boundary.splits_tokens();
    REQUIRE(split == (sequence_parallel && group->size() > 1));
    const std::int64_t local = boundary.local_tokens(kTokens);
    REQUIRE(local == (split ? kTokens / group->size() : kTokens));

    // Outside: x, split or the same on every rank. Inside: y, each rank's own (T, H).
    const int x_stream = split ? group->rank() : 7;
    auto x = whole_numbers(x_stream, local);
    auto y = whole_numbers(20 + group->rank(), kTokens);
    const auto x_view = view_of(x.data(), local, kHidden);
    const auto y_view = view_of(y.data(), kTokens, kHidden);
    std::vector<float> full(kTokens * kHidden), part(static_cast<std::size_t>(local * kHidden));
    const auto full_view = view_of(full.data(), kTokens, kHidden);
    const auto part_view = view_of(part.data(), local, kHidden);

    const ConstView entered = boundary.enter_forward(context, x_view, full_view);
    REQUIRE(entered.rows == kTokens);
    REQUIRE(entered.data == (split ? full_view.data : x_view.data));
    const double forward = spread_inner(*group, true, entered, y_view);
    const auto returned = boundary.enter_backward(context, y_view, part_view);
    REQUIRE(returned.data == (split ? part_view.data : y_view.data));
    REQUIRE(forward == spread_inner(*group, split, x_view, returned));
    REQUIRE(forward != 0.0);

    // The second boundary the other way round: from the inside to the outside and back.
    const auto y_before = whole_numbers(40 + group->rank(), kTokens);
    std::copy(y_before.begin(), y_before.end(), y.begin());
    const auto left = boundary.leave_forward(context, y_view, part_view);
    const double out = spread_inner(*group, split, left, x_view);
    const ConstView back = boundary.leave_backward(context, x_view, full_view);
    REQUIRE(out == spread_inner(*group, true, view_of(y_before.data(), kTokens, kHidden), back));
    REQUIRE(out != 0.0);
  }
}

TEST_CASE("chunks gather and sum what the whole does, wherever they are cut") {
  const auto group = world_with_limit(64), beside = world_with_limit(64);
  device::Context context;
  const std::int64_t chunk_tokens = GENERATE(1, 5, 6, 7, 12, kTokens);
  for (const bool sequence_parallel : {false, true}) {
    CAPTURE(chunk_tokens, sequence_parallel);
    TensorBoundary whole(*group, sequence_parallel);
    TensorBoundary parts(*group, sequence_parallel, beside.get());
    const std::int64_t local = whole.local_tokens(kTokens);
    auto x = whole_numbers(whole.splits_tokens() ? group->rank() : 7, local);
    const auto x_view = view_of(x.data(), local, kHidden);
    // What each boundary hands over, and the sums over the ranks of it and of the rank's number.
    const auto results = [&](TensorBoundary& boundary) {
      std::vector<float> scratch(kTokens * kHidden), dx(kTokens * kHidden),
          part(static_cast<std::size_t>(local * kHidden)), input;
      const auto dx_view = view_of(dx.data(), kTokens, kHidden);
      boundary.enter_forward_in_chunks(context, x_view, view_of(scratch.data(), kTokens, kHidden),
                                       chunk_tokens, [&](parallel::Rows rows, ConstView chunk) {
                                         REQUIRE(chunk.rows == rows.count);
                                         REQUIRE(std::ssize(input) == rows.first * kHidden);
                                         for (std::int64_t i = 0; i < chunk.size(); ++i) {
                                           input.push_back(chunk.as<float>()[i]);
                                           rows.of(dx_view).as<float>()[i] =
                                               input.back() +
                                               static_cast<float>(100 * group->rank());
                                         }
                                         boundary.begin_enter_backward(context, dx_view, rows);
                                       });
      const ConstView sum =
          boundary.finish_enter_backward(context, dx_view, view_of(part.data(), local, kHidden));
      REQUIRE(sum.rows == local);
      return std::pair(input, std::vector<float>(sum.as<float>(), sum.as<float>() + sum.size()));
    };
    CHECK(results(parts) == results(whole));
  }
}

TEST_CASE("tokens that cannot be split evenly are refused") {
  const auto group = world_with_limit(64);
  if (group->size() == 1) return;
  REQUIRE_THROWS_AS(TensorBoundary(*group, true).local_tokens(kTokens + 1), Error);
  REQUIRE(TensorBoundary(*group, false).local_tokens(kTokens + 1) == kTokens + 1);
}

TEST_CASE("time at the boundaries is tensor communication") {
  const auto group = world_with_limit(64);
  if (group->size() == 1) return;
  device::Context context;
  auto y = whole_numbers(group->rank(), kTokens);
  const auto view = view_of(y.data(), kTokens, kHidden);
  TensorBoundary(*group, false).leave_forward(context, view, {});
  const auto seconds = context.profiler().seconds();
  REQUIRE(seconds[static_cast<std::size_t>(device::Phase::tensor_communication)] > 0.0);
}
