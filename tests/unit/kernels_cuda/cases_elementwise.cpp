#include "cases.hpp"

namespace espalier::testing {
namespace {

template <class To, class From>
Verdict cast_case(std::int64_t rows, std::int64_t cols, std::int64_t padding) {
  device::Context context;
  TestQueue queue;
  // Beside the input's columns lie numbers, too: what is written too far is not what was there.
  Matrix<From> wide(rows, cols + padding);
  wide.randomize("in", 3.0);
  const device::View in = wide.view().col_range(0, cols);
  Matrix<To> want(rows, cols, padding), got(rows, cols, padding);
  kernels::cast(context, want.view(), in);
  kernels::ESPALIER_GPU::cast(queue, got.view(), in);
  Verdict verdict;
  verdict.same_bits("cast", got, want);
  return verdict;
}

template <class T>
Verdict residual_add_case(std::int64_t rows, std::int64_t cols, std::int64_t padding) {
  device::Context context;
  TestQueue queue;
  Matrix<T> x(rows, cols, padding), delta(rows, cols), want(rows, cols, padding),
      got(rows, cols, padding);
  x.randomize("x", 3.0);
  delta.randomize("delta");
  kernels::residual_add(context, {.x = x.view(), .delta = delta.view(), .out = want.view()});
  kernels::ESPALIER_GPU::residual_add(queue,
                                      {.x = x.view(), .delta = delta.view(), .out = got.view()});
  Verdict verdict;
  verdict.same_bits("residual_add", got, want);
  return verdict;
}

template <class T>
Verdict set_zero_case(std::int64_t rows, std::int64_t cols, std::int64_t padding) {
  TestQueue queue;
  Matrix<T> want(rows, cols, padding), got(rows, cols, padding);
  got.randomize("out");
  kernels::ESPALIER_GPU::set_zero(queue, got.view());
  Verdict verdict;
  verdict.same_bits("set_zero", got, want);
  return verdict;
}

/// Of types that no operator computes with: every element, and nothing beside them.
template <class T>
Verdict set_zero_of_any_case(std::int64_t rows, std::int64_t cols, std::int64_t padding) {
  TestQueue queue;
  const std::int64_t stride = cols + padding;
  MatrixVector<T> values(static_cast<std::size_t>(rows * stride + 16), T(7));
  device::View view = device::view_of(values.data(), rows, stride).col_range(0, cols);
  kernels::ESPALIER_GPU::set_zero(queue, view);
  Verdict verdict;
  for (std::int64_t i = 0; i < static_cast<std::int64_t>(values.size()); ++i) {
    const bool inside = i / stride < rows && i % stride < cols;
    verdict.expect("set_zero", values[static_cast<std::size_t>(i)] == (inside ? T(0) : T(7)));
  }
  return verdict;
}

Verdict add_losses_case(std::int64_t count) {
  device::Context context;
  TestQueue queue;
  Matrix<float> losses(1, count, 3), want(1, 1), got(1, 1);
  losses.randomize("losses", 2.0, 9.0);
  double on_host = 1e6;
  MatrixVector<double> sum(1, on_host);
  kernels::add_losses(context, device::view_of(&on_host, 1, 1), losses.view());
  kernels::ESPALIER_GPU::add_losses(queue, device::view_of(sum.data(), 1, 1), losses.view());
  Verdict verdict;
  // Sums of fp32 numbers in fp64: the order does not show in fp32's digits, nor in some more.
  verdict.near("add_losses", 0, sum[0], on_host, 1e-14);
  got.fill(sum[0] - 1e6);
  want.fill(on_host - 1e6);
  verdict.close("sum of losses", got, want, 1e-6);
  return verdict;
}

/// `count` matrices, if need be more than one launch takes; the last has a row more.
Verdict sums_of_squares_case(std::int64_t count, std::int64_t rows, std::int64_t cols,
                             std::int64_t padding) {
  device::Context context;
  TestQueue queue;
  std::vector<Matrix<float>> matrices;
  std::vector<device::ConstView> views;
  for (std::int64_t i = 0; i < count; ++i) {
    // Rows that are aligned beside such that are not.
    matrices.emplace_back(i + 1 < count ? rows : rows + 1, cols + i % 2, padding);
    matrices.back().randomize(fmt::format("in {}", i), 1.3);
  }
  for (Matrix<float>& matrix : matrices) views.push_back(matrix.view());
  MatrixVector<double> sums(static_cast<std::size_t>(count), -1.0);
  std::vector<double> on_host(sums.size(), -1.0);
  kernels::ESPALIER_GPU::sums_of_squares(queue, device::view_of(sums.data(), count, 1), views);
  kernels::sums_of_squares(context, device::view_of(on_host.data(), count, 1), views);
  Matrix<float> want(1, 1), got(1, 1);
  Verdict verdict;
  MatrixVector<double> alone(1, -1.0);
  for (std::size_t i = 0; i < sums.size(); ++i) {
    want.fill(on_host[i]);
    got.fill(sums[i]);
    verdict.close("sums_of_squares", got, want, 1e-6);
    if (i % 20 != 0) continue;
    kernels::ESPALIER_GPU::sums_of_squares(queue, device::view_of(alone.data(), 1, 1),
                                           std::span(views).subspan(i, 1));
    verdict.expect("the same bits without the other matrices", alone[0] == sums[i]);
  }
  return verdict;
}

}  // namespace

void add_elementwise_cases(std::vector<Case>& cases) {
  struct Size {
    std::int64_t rows, cols, padding;
  };
  // Contiguous across a tile's end; vectors with a tail; rows that are not aligned; one element.
  for (const auto [rows, cols, padding] : {Size{3, 2731, 0}, Size{2, 8195, 5}, Size{5, 19, 13},
                                           Size{3, 37, 3}, Size{1, 1, 0}, Size{0, 7, 0}}) {
    const auto named = [&](const char* what) {
      return fmt::format("{} ({}, {}) stride {}", what, rows, cols, cols + padding);
    };
    const auto bound = [&](auto function) {
      return [=, rows = rows, cols = cols, padding = padding] {
        return function(rows, cols, padding);
      };
    };
    cases.push_back({named("cast f32 to bf16"), bound(cast_case<bf16, float>)});
    cases.push_back({named("cast bf16 to f32"), bound(cast_case<float, bf16>)});
    cases.push_back({named("residual_add f32"), bound(residual_add_case<float>)});
    cases.push_back({named("residual_add bf16"), bound(residual_add_case<bf16>)});
    cases.push_back({named("set_zero f32"), bound(set_zero_case<float>)});
    cases.push_back({named("set_zero bf16"), bound(set_zero_case<bf16>)});
    cases.push_back({named("set_zero f64"), bound(set_zero_of_any_case<double>)});
    cases.push_back({named("set_zero i32"), bound(set_zero_of_any_case<std::int32_t>)});
    cases.push_back({named("set_zero u32"), bound(set_zero_of_any_case<std::uint32_t>)});
    for (const std::int64_t count : {1, rows == 5 ? 70 : 3})
      cases.push_back({named(fmt::format("sums_of_squares of {}", count).c_str()),
                       [=, rows = rows, cols = cols, padding = padding] {
                         return sums_of_squares_case(count, rows, cols, padding);
                       }});
  }
  for (const std::int64_t count : {0, 1, 511, 1300})
    cases.push_back(
        {fmt::format("add_losses of {}", count), [count] { return add_losses_case(count); }});
}

}  // namespace espalier::testing
