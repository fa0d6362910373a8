#include <numeric>

#include "cases.hpp"

namespace espalier::testing {
namespace {

using device::Output;

template <class T>
Verdict grouped_case(const std::vector<std::int64_t>& sizes, std::int64_t N, std::int64_t K,
                     std::int64_t padding) {
  device::Context context;
  TestQueue queue;
  std::vector<std::int64_t> offsets(sizes.size() + 1, 0);
  std::partial_sum(sizes.begin(), sizes.end(), offsets.begin() + 1);
  const std::int64_t R = offsets.back();
  const auto weight_rows = static_cast<std::int64_t>(sizes.size()) * N;
  Matrix<T> x(R, K, padding), dy(R, N, padding), w(weight_rows, K, padding);
  x.randomize("x");
  dy.randomize("dy");
  w.randomize("w");
  Verdict verdict;
  Matrix<T> want(R, N, padding), got(R, N, padding);
  const auto forward = [&](Matrix<T>& y) {
    return kernels::GroupedForward{x.view(), w.view(), offsets, y.view()};
  };
  kernels::grouped_forward(context, forward(want));
  kernels::ESPALIER_GPU::grouped_forward(queue, forward(got));
  verdict.close("y", got, want, tolerance_of<T>(), 1.0);

  Matrix<T> dx_want(R, K, padding), dx_got(R, K, padding);
  const auto input = [&](Matrix<T>& dx) {
    return kernels::GroupedBackwardInput{dy.view(), w.view(), offsets, dx.view()};
  };
  kernels::grouped_backward_input(context, input(dx_want));
  kernels::ESPALIER_GPU::grouped_backward_input(queue, input(dx_got));
  verdict.close("dx", dx_got, dx_want, tolerance_of<T>(), 1.0);

  Matrix<float> dw_want(weight_rows, K, padding), dw_got(weight_rows, K, padding);
  dw_got.fill(NAN);
  for (const Output output : {Output::replace, Output::accumulate}) {
    const auto weight = [&](Matrix<float>& dw) {
      return kernels::GroupedBackwardWeight{dy.view(), x.view(), offsets, dw.view(), output};
    };
    kernels::grouped_backward_weight(context, weight(dw_want));
    kernels::ESPALIER_GPU::grouped_backward_weight(queue, weight(dw_got));
    verdict.close("dw", dw_got, dw_want, 1e-5, 1.0);
  }
  return verdict;
}

/// What is in other groups' rows, and behind the rows of the result, must not matter.
Verdict neighbours_case() {
  TestQueue queue;
  const std::vector<std::int64_t> offsets = {0, 5, 14};
  Matrix<bf16> x(14, 16), dy(14, 24), w(48, 16), y(14, 24);
  Matrix<float> dw(48, 16);
  for (Matrix<bf16>* m : {&x, &dy, &w}) m->fill(1.0);
  for (std::int64_t r = 5; r < 14; ++r) x.at(r, 3) = dy.at(r, 2) = bf16(NAN);
  for (std::int64_t n = 24; n < 48; ++n) w.at(n, 7) = bf16(NAN);
  kernels::ESPALIER_GPU::grouped_forward(queue, {x.view(), w.view(), offsets, y.view()});
  kernels::ESPALIER_GPU::grouped_backward_weight(
      queue, {dy.view(), x.view(), offsets, dw.view(), Output::replace});
  Verdict verdict;
  for (std::int64_t n = 0; n < 24; ++n) {
    for (std::int64_t r = 0; r < 5; ++r) verdict.expect("y", y(r, n) == 16.0);
    for (std::int64_t k = 0; k < 16; ++k) verdict.expect("dw", dw(n, k) == 5.0);
  }
  return verdict;
}

}  // namespace

void add_grouped_product_cases(std::vector<Case>& cases) {
  const auto add = [&](const char* what, const std::vector<std::int64_t>& sizes, std::int64_t N,
                       std::int64_t K, std::int64_t padding) {
    cases.push_back({fmt::format("grouped product bf16, {}", what),
                     [=] { return grouped_case<bf16>(sizes, N, K, padding); }});
  };
  add("several tiles and parts", {3, 0, 130, 70}, 136, 200, 8);
  add("one group takes all", {0, 65, 0}, 64, 8, 0);
  add("rows not aligned", {5, 0, 20}, 19, 35, 3);
  add("one row each", {1, 1}, 8, 8, 0);
  cases.push_back({"grouped product f32, several tiles", [] {
                     return grouped_case<float>({0, 21, 0, 5}, 33, 18, 1);
                   }});
  cases.push_back({"grouped product f32, more groups than a launch has", [] {
                     std::vector<std::int64_t> sizes(300, 0);
                     sizes[1] = sizes[255] = sizes[256] = sizes[299] = 2;
                     return grouped_case<float>(sizes, 3, 2, 0);
                   }});
  cases.push_back({"grouped product bf16, neighbours", neighbours_case});
}

}  // namespace espalier::testing
