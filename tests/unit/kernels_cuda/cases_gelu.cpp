#include "cases.hpp"

namespace espalier::testing {
namespace {

template <class T>
Verdict gelu_case(std::int64_t rows, std::int64_t width, std::int64_t padding) {
  device::Context context;
  TestQueue queue;
  Matrix<T> x(rows, width, padding), d_out(rows, width, padding), want(rows, width, padding),
      got(rows, width, padding), d_want(rows, width, padding), d_got(rows, width, padding),
      out_want(rows, width, padding), out_got(rows, width, padding);
  x.randomize("x", 3.0);
  d_out.randomize("d_out");
  kernels::gelu_forward(context, {.x = x.view(), .out = want.view()});
  kernels::ESPALIER_GPU::gelu_forward(queue, {.x = x.view(), .out = got.view()});
  const auto backward = [&](Matrix<T>& d_x, Matrix<T>& out) {
    return kernels::GeluBackward{
        .x = x.view(), .d_out = d_out.view(), .d_x = d_x.view(), .out = out.view()};
  };
  kernels::gelu_backward(context, backward(d_want, out_want));
  kernels::ESPALIER_GPU::gelu_backward(queue, backward(d_got, out_got));
  Verdict verdict;
  verdict.close("out", got, want, tolerance_of<T>());
  verdict.close("d_x", d_got, d_want, tolerance_of<T>(), 0.01);
  verdict.close("out of backward", out_got, out_want, tolerance_of<T>());

  // The forward in place; d_x in place of x, and out in place of d_out.
  Matrix<T> in_place = x;
  kernels::ESPALIER_GPU::gelu_forward(queue, {.x = in_place.view(), .out = in_place.view()});
  verdict.same_bits("out in place", in_place, got);
  Matrix<T> x_too = x;
  kernels::ESPALIER_GPU::gelu_backward(
      queue, {.x = x_too.view(), .d_out = d_out.view(), .d_x = x_too.view(), .out = d_out.view()});
  verdict.same_bits("d_x in place", x_too, d_got);
  verdict.same_bits("out in place of d_out", d_out, out_got);
  return verdict;
}

template <class T>
void add(std::vector<Case>& cases) {
  const auto named = [](const char* what) {
    return fmt::format("gelu {}, {}", kTypeName<T>, what);
  };
  cases.push_back({named("contiguous across a tile"), [] { return gelu_case<T>(3, 2731, 0); }});
  cases.push_back({named("vectors and a tail"), [] { return gelu_case<T>(4, 77, 11); }});
  cases.push_back({named("rows not aligned"), [] { return gelu_case<T>(3, 37, 3); }});
  cases.push_back({named("one element"), [] { return gelu_case<T>(1, 1, 0); }});
}

}  // namespace

void add_gelu_cases(std::vector<Case>& cases) {
  add<float>(cases);
  add<bf16>(cases);
}

}  // namespace espalier::testing
