#include "cases.hpp"

namespace espalier::testing {
namespace {

template <class T>
Verdict swiglu_case(std::int64_t rows, std::int64_t width, std::int64_t padding) {
  device::Context context;
  TestQueue queue;
  Matrix<T> gate_up(rows, 2 * width, padding), d_out(rows, width, padding);
  gate_up.randomize("gate_up", 2.0);
  d_out.randomize("d_out");
  Matrix<T> want(rows, width, padding), got(rows, width, padding);
  kernels::swiglu_forward(context, {gate_up.view(), want.view()});
  kernels::ESPALIER_GPU::swiglu_forward(queue, {gate_up.view(), got.view()});
  Verdict verdict;
  verdict.close("out", got, want, tolerance_of<T>());

  Matrix<T> d_want(rows, 2 * width, padding), d_got(rows, 2 * width, padding);
  kernels::swiglu_backward(context, {gate_up.view(), d_out.view(), d_want.view(), want.view()});
  kernels::ESPALIER_GPU::swiglu_backward(queue,
                                         {gate_up.view(), d_out.view(), d_got.view(), got.view()});
  verdict.close("d_gate_up", d_got, d_want, tolerance_of<T>(), 1e-2);
  verdict.close("out again", got, want, tolerance_of<T>());

  kernels::ESPALIER_GPU::swiglu_backward(
      queue, {gate_up.view(), d_out.view(), gate_up.view(), d_out.view()});
  verdict.same_bits("d_gate_up in place", gate_up, d_got);
  verdict.same_bits("out in place", d_out, got);
  return verdict;
}

template <class T>
void add(std::vector<Case>& cases) {
  const auto named = [](const char* what) {
    return fmt::format("swiglu {}, {}", kTypeName<T>, what);
  };
  cases.push_back({named("two tiles"), [] { return swiglu_case<T>(2, 8200, 0); }});
  cases.push_back({named("rows not aligned"), [] { return swiglu_case<T>(5, 45, 7); }});
  cases.push_back({named("one element"), [] { return swiglu_case<T>(1, 1, 0); }});
}

}  // namespace

void add_swiglu_cases(std::vector<Case>& cases) {
  add<float>(cases);
  add<bf16>(cases);
}

}  // namespace espalier::testing
