#include "cases.hpp"

namespace espalier::testing {
namespace {

template <class T>
Verdict embedding_case(std::int64_t num_tokens, std::int64_t vocabulary, std::int64_t width,
                       std::int64_t padding) {
  device::Context context;
  TestQueue queue;
  // This rank holds the second half of the vocabulary; some ids are frequent, some absent.
  const std::int64_t first_row = vocabulary / 2;
  const std::int64_t num_rows = vocabulary - first_row;
  std::vector<std::uint32_t> ids;
  for (std::int64_t t = 0; t < num_tokens; ++t)
    ids.push_back(static_cast<std::uint32_t>(t % 3 == 0 ? vocabulary - 1 : t * t % vocabulary));
  Ids<std::uint32_t> tokens(ids);
  Matrix<T> table(num_rows, width, padding), want(num_tokens, width, padding),
      got(num_tokens, width, padding), d_out(num_tokens, width, padding);
  table.randomize("table");
  d_out.randomize("d_out");
  const auto forward = [&](Matrix<T>& out) {
    return kernels::EmbeddingForward{
        .tokens = tokens.view(), .table = table.view(), .first_row = first_row, .out = out.view()};
  };
  kernels::embedding_forward(context, forward(want));
  kernels::ESPALIER_GPU::embedding_forward(queue, forward(got));
  Verdict verdict;
  verdict.same_bits("out", got, want);

  Matrix<float> d_want(num_rows, width, padding), d_got(num_rows, width, padding);
  d_want.randomize("before");
  d_got.randomize("before");
  Ids<std::int32_t> order(std::vector<std::int32_t>(static_cast<std::size_t>(num_tokens), -1));
  const auto backward = [&](Matrix<float>& d_table) {
    return kernels::EmbeddingBackward{.tokens = tokens.view(),
                                      .d_out = d_out.view(),
                                      .first_row = first_row,
                                      .d_table = d_table.view(),
                                      .order = order.view()};
  };
  kernels::embedding_backward(context, backward(d_want));
  kernels::ESPALIER_GPU::embedding_backward(queue, backward(d_got));
  verdict.same_bits("d_table", d_got, d_want);  // the same sums in the same order
  return verdict;
}

template <class T>
void add(std::vector<Case>& cases) {
  const auto named = [](const char* what) {
    return fmt::format("embedding {}, {}", kTypeName<T>, what);
  };
  cases.push_back(
      {named("several tiles of tokens"), [] { return embedding_case<T>(700, 90, 40, 8); }});
  cases.push_back({named("a tail"), [] { return embedding_case<T>(33, 10, 45, 3); }});
  cases.push_back({named("one token"), [] { return embedding_case<T>(1, 2, 1, 0); }});
}

}  // namespace

void add_embedding_cases(std::vector<Case>& cases) {
  add<float>(cases);
  add<bf16>(cases);
}

}  // namespace espalier::testing
