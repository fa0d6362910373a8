#include "cases.hpp"

namespace espalier::testing {
namespace {

template <class T>
Verdict bias_case(std::int64_t rows, std::int64_t width, std::int64_t padding) {
  device::Context context;
  TestQueue queue;
  // Beside the columns lie numbers, too: what is read too far is not zero.
  Matrix<T> wide(rows, width + padding);
  wide.randomize("dy");
  const device::View dy = wide.view().col_range(0, width);
  Matrix<float> want(1, width), got(1, width);
  want.randomize("before");
  got.randomize("before");
  kernels::bias_backward(context, {.dy = dy, .d_bias = want.view()});
  kernels::ESPALIER_GPU::bias_backward(queue, {.dy = dy, .d_bias = got.view()});
  Verdict verdict;
  verdict.close("d_bias", got, want, 1e-5, 1.0);
  return verdict;
}

template <class T>
void add(std::vector<Case>& cases) {
  const auto named = [](const char* what) {
    return fmt::format("bias {}, {}", kTypeName<T>, what);
  };
  cases.push_back({named("more slices than groups"), [] { return bias_case<T>(101, 1096, 8); }});
  cases.push_back({named("longer slices"), [] { return bias_case<T>(2100, 40, 0); }});
  cases.push_back({named("vectors and a tail"), [] { return bias_case<T>(13, 77, 11); }});
  cases.push_back({named("rows not aligned"), [] { return bias_case<T>(9, 70, 3); }});
  cases.push_back({named("one element"), [] { return bias_case<T>(1, 1, 0); }});
}

}  // namespace

void add_bias_cases(std::vector<Case>& cases) {
  add<float>(cases);
  add<bf16>(cases);
}

}  // namespace espalier::testing
