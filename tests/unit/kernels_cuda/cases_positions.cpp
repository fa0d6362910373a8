#include "cases.hpp"

namespace espalier::testing {
namespace {

/// Sequences of `length` tokens, one behind the other, the last one cut short.
std::vector<std::int32_t> positions_of(std::int64_t num_tokens, std::int64_t length) {
  std::vector<std::int32_t> positions;
  for (std::int64_t t = 0; t < num_tokens; ++t)
    positions.push_back(static_cast<std::int32_t>(t % length));
  return positions;
}

template <class T>
Verdict positions_case(std::int64_t num_tokens, std::int64_t length, std::int64_t width,
                       std::int64_t padding) {
  device::Context context;
  TestQueue queue;
  const std::int64_t num_rows = length + 3;  // the table may be longer than the sequences
  Ids<std::int32_t> positions(positions_of(num_tokens, length));
  Matrix<T> table(num_rows, width, padding), want(num_tokens, width, padding),
      got(num_tokens, width, padding), dx(num_tokens, width, padding);
  table.randomize("table");
  want.randomize("x");
  got.randomize("x");
  dx.randomize("dx");
  const auto forward = [&](Matrix<T>& x) {
    return kernels::PositionsForward{
        .position_ids = positions.view(), .table = table.view(), .x = x.view()};
  };
  kernels::positions_forward(context, forward(want));
  kernels::ESPALIER_GPU::positions_forward(queue, forward(got));
  Verdict verdict;
  verdict.same_bits("x", got, want);

  Matrix<float> d_want(num_rows, width, padding), d_got(num_rows, width, padding);
  d_want.randomize("before");
  d_got.randomize("before");
  const auto backward = [&](Matrix<float>& d_table) {
    return kernels::PositionsBackward{
        .position_ids = positions.view(), .dx = dx.view(), .d_table = d_table.view()};
  };
  kernels::positions_backward(context, backward(d_want));
  kernels::ESPALIER_GPU::positions_backward(queue, backward(d_got));
  verdict.same_bits("d_table", d_got, d_want);  // the same sums in the same order
  return verdict;
}

/// A position behind the table's end must not read what lies there.
Verdict outside_case() {
  TestQueue queue;
  Ids<std::int32_t> positions(std::vector<std::int32_t>{0, 5, -1, 4});
  Matrix<float> table(5, 9), x(4, 9, 3), d_table(5, 9);
  table.fill(2.0);
  x.fill(1.0);
  kernels::ESPALIER_GPU::positions_forward(
      queue, {.position_ids = positions.view(), .table = table.view(), .x = x.view()});
  Verdict verdict;
  for (std::int64_t c = 0; c < 9; ++c) {
    verdict.expect("rows of the table", x(0, c) == 3.0 && x(3, c) == 3.0);
    verdict.expect("NaN outside", std::isnan(x(1, c)) && std::isnan(x(2, c)));
  }
  Matrix<float> ones(4, 9);
  ones.fill(1.0);
  kernels::ESPALIER_GPU::positions_backward(
      queue, {.position_ids = positions.view(), .dx = ones.view(), .d_table = d_table.view()});
  Matrix<float> want(5, 9);
  for (std::int64_t c = 0; c < 9; ++c) want.at(0, c) = want.at(4, c) = 1.0f;
  verdict.same_bits("d_table outside", d_table, want);
  return verdict;
}

template <class T>
void add(std::vector<Case>& cases) {
  const auto named = [](const char* what) {
    return fmt::format("positions {}, {}", kTypeName<T>, what);
  };
  cases.push_back(
      {named("several runs of the sort"), [] { return positions_case<T>(1100, 300, 40, 8); }});
  cases.push_back({named("a tail"), [] { return positions_case<T>(33, 7, 45, 3); }});
  cases.push_back({named("one token"), [] { return positions_case<T>(1, 1, 1, 0); }});
}

}  // namespace

void add_positions_cases(std::vector<Case>& cases) {
  add<float>(cases);
  add<bf16>(cases);
  cases.push_back({"positions outside of the table", outside_case});
}

}  // namespace espalier::testing
