#include "cases.hpp"

namespace espalier::testing {
namespace {

template <class T>
Verdict expert_swiglu_case(std::int64_t rows, std::int64_t width, std::int64_t padding) {
  device::Context context;
  TestQueue queue;
  Matrix<T> gate_up(rows, 2 * width, padding), d_hidden(rows, width, padding);
  Matrix<float> weights(rows, 1, padding);
  gate_up.randomize("gate_up", 2.0);
  d_hidden.randomize("d_hidden");
  weights.randomize("weights");
  struct Result {
    Matrix<T> d_gate_up, hidden;
    Matrix<float> d_weights;
  };
  const auto empty = [&] {
    return Result{Matrix<T>(rows, 2 * width, padding), Matrix<T>(rows, width, padding),
                  Matrix<float>(rows, 1, padding)};
  };
  Result want = empty(), got = empty();
  const auto call = [&](device::View d_gate_up, device::View hidden, Matrix<float>& d_weights) {
    return kernels::ExpertSwigluBackward{.gate_up = gate_up.view(),
                                         .d_hidden = d_hidden.view(),
                                         .row_weights = weights.view(),
                                         .d_gate_up = d_gate_up,
                                         .hidden = hidden,
                                         .d_row_weights = d_weights.view()};
  };
  kernels::expert_swiglu_backward(context,
                                  call(want.d_gate_up.view(), want.hidden.view(), want.d_weights));
  kernels::ESPALIER_GPU::expert_swiglu_backward(
      queue, call(got.d_gate_up.view(), got.hidden.view(), got.d_weights));
  Verdict verdict;
  verdict.close("d_gate_up", got.d_gate_up, want.d_gate_up, tolerance_of<T>(), 1e-2);
  verdict.close("hidden", got.hidden, want.hidden, tolerance_of<T>(), 1e-2);
  // The host's exponential for bf16 is good to 2^-16.
  verdict.close("d_row_weights", got.d_weights, want.d_weights, sizeof(T) == 2 ? 1e-3 : 1e-5, 1.0);

  kernels::ESPALIER_GPU::expert_swiglu_backward(
      queue, call(gate_up.view(), d_hidden.view(), want.d_weights));
  verdict.same_bits("d_gate_up in place", gate_up, got.d_gate_up);
  verdict.same_bits("hidden in place", d_hidden, got.hidden);
  verdict.same_bits("d_row_weights in place", want.d_weights, got.d_weights);
  return verdict;
}

template <class T>
void add(std::vector<Case>& cases) {
  const auto named = [](const char* what) {
    return fmt::format("expert swiglu {}, {}", kTypeName<T>, what);
  };
  cases.push_back({named("several warps"), [] { return expert_swiglu_case<T>(3, 768, 8); }});
  cases.push_back({named("rows not aligned"), [] { return expert_swiglu_case<T>(5, 45, 7); }});
  cases.push_back({named("one element"), [] { return expert_swiglu_case<T>(1, 1, 0); }});
}

}  // namespace

void add_expert_swiglu_cases(std::vector<Case>& cases) {
  add<float>(cases);
  add<bf16>(cases);
}

}  // namespace espalier::testing
