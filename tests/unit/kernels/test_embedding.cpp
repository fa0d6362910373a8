#include "kernels/embedding/embedding.hpp"
#include "support.hpp"

namespace espalier {
namespace {

using testing::Ids;
using testing::Matrix;

Ids<std::uint32_t> some_tokens(std::int64_t count, std::uint32_t vocabulary) {
  std::vector<std::uint32_t> ids;
  // Many repeats of a few ids, and some that occur once.
  for (std::int64_t t = 0; t < count; ++t)
    ids.push_back(static_cast<std::uint32_t>(t % 3 == 0 ? 5 : t * 31) % vocabulary);
  return Ids<std::uint32_t>(std::move(ids));
}

template <class T>
void check(std::int64_t tokens, std::int64_t width, std::uint32_t vocabulary, std::int64_t first,
           std::int64_t rows) {
  CAPTURE(tokens, width, vocabulary, first, rows);
  device::Context context;
  Ids<std::uint32_t> ids = some_tokens(tokens, vocabulary);
  Matrix<T> table(rows, width, 2), out(tokens, width, 3), d_out(tokens, width, 1);
  table.randomize("table");
  d_out.randomize("d_out");
  out.fill(9.0);
  kernels::embedding_forward(
      context,
      {.tokens = ids.view(), .table = table.view(), .first_row = first, .out = out.view()});
  CHECK(testing::worst_error(out, [&](auto t, auto c) {
          const std::int64_t row = std::int64_t{ids[t]} - first;
          return row >= 0 && row < rows ? table(row, c) : 0.0;
        }) == 0.0);
  CHECK(out.padding_untouched());

  Matrix<float> d_table(rows, width, 4);
  d_table.fill(0.5);
  std::vector<std::int32_t> order(static_cast<std::size_t>(tokens));
  kernels::embedding_backward(context, {.tokens = ids.view(),
                                        .d_out = d_out.view(),
                                        .first_row = first,
                                        .d_table = d_table.view(),
                                        .order = device::view_of(order.data(), 1, tokens)});
  CHECK(testing::worst_error(d_table, [&](auto row, auto c) {
          double sum = 0.5;
          for (std::int64_t t = 0; t < tokens; ++t)
            if (std::int64_t{ids[t]} == first + row) sum += d_out(t, c);
          return sum;
        }) < 1e-5);
  CHECK(d_table.padding_untouched());
}

}  // namespace

TEMPLATE_TEST_CASE("embedding and its gradient", "[embedding]", float, bf16) {
  check<TestType>(100, 48, 64, 0, 64);
  check<TestType>(301, 19, 40, 10, 17);  // a rank's rows in the middle of the vocabulary
  check<TestType>(1, 1, 1, 0, 1);
  check<TestType>(50, 8, 40, 100, 3);  // none of the tokens is here
}

}  // namespace espalier
