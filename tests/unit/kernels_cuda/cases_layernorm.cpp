#include "cases.hpp"

namespace espalier::testing {
namespace {

template <class T>
struct Results {
  Matrix<T> residual, y, dx;
  Matrix<float> statistics, d_weight, d_bias;

  Results(std::int64_t rows, std::int64_t width, std::int64_t padding)
      : residual(rows, width, padding),
        y(rows, width, padding),
        dx(rows, width, padding),
        statistics(2, rows, 3),
        d_weight(1, width),
        d_bias(1, width) {
    d_weight.fill(0.5);
    d_bias.fill(-0.5);
  }
};

template <class T>
Verdict layernorm_case(std::int64_t rows, std::int64_t width, std::int64_t padding, bool adds) {
  device::Context context;
  TestQueue queue;
  Matrix<T> x(rows, width, padding), delta(rows, width, padding), weight(1, width), bias(1, width),
      dy(rows, width, padding), d_residual(rows, width, padding);
  // Far from zero: a variance from the mean of squares would lose its digits.
  x.randomize("x", 2.0, 30.0);
  delta.randomize("delta");
  weight.randomize("weight", 0.3, 1.0);
  bias.randomize("bias", 0.3);
  dy.randomize("dy");
  d_residual.randomize("d_residual");
  const device::ConstView none;
  Results<T> want(rows, width, padding), got(rows, width, padding);
  const auto forward = [&](Results<T>& results) {
    return kernels::LayerNormForward{.x = x.view(),
                                     .delta = adds ? device::ConstView(delta.view()) : none,
                                     .weight = weight.view(),
                                     .bias = bias.view(),
                                     .residual = adds ? results.residual.view() : device::View{},
                                     .y = results.y.view(),
                                     .statistics = results.statistics.view(),
                                     .eps = 1e-5f};
  };
  kernels::layernorm_forward(context, forward(want));
  kernels::ESPALIER_GPU::layernorm_forward(queue, forward(got));
  const auto backward = [&](Results<T>& results) {
    return kernels::LayerNormBackward{
        .dy = dy.view(),
        .x = adds ? device::ConstView(want.residual.view()) : device::ConstView(x.view()),
        .weight = weight.view(),
        .statistics = want.statistics.view(),
        .d_residual = adds ? device::ConstView(d_residual.view()) : none,
        .dx = results.dx.view(),
        .d_weight = results.d_weight.view(),
        .d_bias = results.d_bias.view()};
  };
  kernels::layernorm_backward(context, backward(want));
  kernels::ESPALIER_GPU::layernorm_backward(queue, backward(got));
  Verdict verdict;
  if (adds) verdict.same_bits("residual", got.residual, want.residual);
  // The mean of numbers near 30 is off by some roundings of 2^-24; so is every deviation.
  verdict.close("statistics", got.statistics, want.statistics, 1e-5);
  verdict.close("y", got.y, want.y, tolerance_of<T>(), 1.0);
  verdict.close("dx", got.dx, want.dx, tolerance_of<T>(), 0.1);
  verdict.close("d_weight", got.d_weight, want.d_weight, 1e-5, 1.0);
  verdict.close("d_bias", got.d_bias, want.d_bias, 1e-5, 1.0);

  // dx may take the place of dy, and the forward's y that of delta.
  Matrix<T> dx_in_place = dy;
  kernels::LayerNormBackward in_place = backward(got);
  in_place.dy = in_place.dx = dx_in_place.view();
  kernels::ESPALIER_GPU::layernorm_backward(queue, in_place);
  verdict.same_bits("dx in place of dy", dx_in_place, got.dx);
  if (adds) {
    // As training calls it.
    Matrix<T> dx_on_residual = d_residual;
    in_place = backward(got);
    in_place.d_residual = in_place.dx = dx_on_residual.view();
    kernels::ESPALIER_GPU::layernorm_backward(queue, in_place);
    verdict.same_bits("dx in place of d_residual", dx_on_residual, got.dx);

    Matrix<T> y_in_place = delta;
    kernels::LayerNormForward call = forward(got);
    call.delta = y_in_place.view();
    call.y = y_in_place.view();
    kernels::ESPALIER_GPU::layernorm_forward(queue, call);
    verdict.same_bits("y in place of delta", y_in_place, got.y);
  }
  return verdict;
}

template <class T>
void add(std::vector<Case>& cases) {
  const auto named = [](const char* what) {
    return fmt::format("layernorm {}, {}", kTypeName<T>, what);
  };
  cases.push_back(
      {named("vectors and several warps"), [] { return layernorm_case<T>(5, 1096, 8, true); }});
  cases.push_back(
      {named("vectors and a tail"), [] { return layernorm_case<T>(13, 77, 11, true); }});
  cases.push_back({named("rows not aligned"), [] { return layernorm_case<T>(9, 70, 3, false); }});
  cases.push_back({named("one element"), [] { return layernorm_case<T>(1, 1, 0, true); }});
  // Wider than what blocks of 512 threads keep in registers.
  constexpr std::int64_t kWide = 1026 * 16 / static_cast<std::int64_t>(sizeof(T)) + 3;
  cases.push_back({named("wide, vectors"), [] { return layernorm_case<T>(5, kWide, 13, true); }});
  cases.push_back({named("wide, not aligned"), [] { return layernorm_case<T>(5, 1030, 3, true); }});
}

}  // namespace

void add_layernorm_cases(std::vector<Case>& cases) {
  add<float>(cases);
  add<bf16>(cases);
}

}  // namespace espalier::testing
