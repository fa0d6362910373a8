#include <algorithm>

#include "cases.hpp"

namespace espalier::testing {
namespace {

/// A router's matrices on one backend.
struct Router {
  Router(std::int64_t tokens, std::int64_t num_experts, std::int64_t k, std::int64_t padding)
      : p(tokens, num_experts, padding),
        lse(1, tokens, 1),
        chosen(std::vector<std::int32_t>(static_cast<std::size_t>(tokens * k), -1)),
        weights(tokens, k, padding) {}
  device::View experts() {
    const device::View all = chosen.view();
    return {all.data, all.dtype, weights.rows(), weights.cols(), weights.cols()};
  }
  Matrix<float> p, lse;
  Ids<std::int32_t> chosen;
  Matrix<float> weights;
};

struct Sums {
  Sums() : memory(std::vector<double>{1.0, 2.0}) {}
  Ids<double> memory;
};

template <class T>
Verdict router_case(std::int64_t tokens, std::int64_t num_experts, std::int64_t k,
                    std::int64_t padding, bool normalize, std::int64_t num_counts) {
  device::Context context;
  TestQueue queue;
  Router want(tokens, num_experts, k, padding), got(tokens, num_experts, k, padding);
  Matrix<float> logits(tokens, num_experts, padding), bias(1, num_experts),
      d_weights(tokens, k, padding), counts(std::max<std::int64_t>(num_counts, 1), num_experts);
  logits.randomize("logits", 2.0);
  // Two that are equal to the bit, with any exponential.
  if (num_experts > 1)
    for (std::int64_t t = 0; t < tokens; ++t)
      logits.at(t, num_experts - 1) = logits.at(t, num_experts / 2) = 3.0f;
  bias.randomize("bias", 0.01);
  d_weights.randomize("d_weights");
  counts.randomize("counts", 1.0, 5.0);
  const auto forward = [&](Router& r) {
    return kernels::RouterForward{.logits = logits.view(),
                                  .bias = num_counts > 0 ? bias.view() : device::View{},
                                  .normalize = normalize,
                                  .probabilities = r.p.view(),
                                  .log_sum_exp = r.lse.view(),
                                  .experts = r.experts(),
                                  .weights = r.weights.view()};
  };
  kernels::router_forward(context, forward(want));
  kernels::ESPALIER_GPU::router_forward(queue, forward(got));
  Verdict verdict;
  verdict.close("probabilities", got.p, want.p, 2e-6);
  verdict.close("log_sum_exp", got.lse, want.lse, 1e-6);
  verdict.close("weights", got.weights, want.weights, 2e-6);
  for (std::int64_t i = 0; i < tokens * k; ++i)
    verdict.equal("expert", i, got.chosen[i], want.chosen[i]);

  const kernels::TokenPlace place{.first_token = 2, .tokens_per_sequence = 4};
  const device::View n = num_counts > 0 ? counts.view() : device::View{};
  const auto backward = [&](device::View d_logits) {
    return kernels::RouterBackward{.probabilities = want.p.view(),
                                   .log_sum_exp = want.lse.view(),
                                   .experts = want.experts(),
                                   .weights = want.weights.view(),
                                   .normalize = normalize,
                                   .d_weights = d_weights.view(),
                                   .counts = n,
                                   .place = place,
                                   .balance_scale = 0.02f,
                                   .z_scale = 0.1f,
                                   .d_logits = d_logits};
  };
  Matrix<T> d_want(tokens, num_experts, padding), d_got(tokens, num_experts, padding);
  kernels::router_backward(context, backward(d_want.view()));
  kernels::ESPALIER_GPU::router_backward(queue, backward(d_got.view()));
  verdict.close("d_logits", d_got, d_want, tolerance_of<T>(), 1e-1);

  Sums sums_want, sums_got;
  const auto losses = [&](Sums& sums) {
    return kernels::BalanceLoss{.probabilities = want.p.view(),
                                .log_sum_exp = want.lse.view(),
                                .counts = n,
                                .place = place,
                                .balance_scale = 0.02f,
                                .z_scale = 0.1f,
                                .sums = sums.memory.view()};
  };
  kernels::balance_loss(context, losses(sums_want));
  kernels::ESPALIER_GPU::balance_loss(queue, losses(sums_got));
  for (std::int64_t i = 0; i < 2; ++i)
    verdict.near("losses", i, sums_got.memory[i], sums_want.memory[i], 1e-6);
  if constexpr (sizeof(T) == 4) {
    kernels::ESPALIER_GPU::router_backward(queue, backward(want.p.view()));
    verdict.same_bits("d_logits in place", want.p, d_got);
  }
  return verdict;
}

/// All equal; a NaN; an infinity.
Verdict odd_logits_case() {
  TestQueue queue;
  Router got(3, 40, 6, 0);
  Matrix<float> logits(3, 40);
  logits.at(1, 33) = NAN;
  for (std::int64_t e = 0; e < 38; ++e) logits.at(2, e) = -INFINITY;
  kernels::ESPALIER_GPU::router_forward(queue, {.logits = logits.view(),
                                                .bias = {},
                                                .normalize = true,
                                                .probabilities = got.p.view(),
                                                .log_sum_exp = got.lse.view(),
                                                .experts = got.experts(),
                                                .weights = got.weights.view()});
  Verdict verdict;
  const std::int32_t last[] = {38, 39, 0, 1, 2, 3};
  for (std::int64_t j = 0; j < 6; ++j) {
    verdict.equal<std::int64_t>("of equals the lowest", j, got.chosen[j], j);
    verdict.equal<std::int64_t>("beside a NaN", j, got.chosen[6 + j], j);
    verdict.expect("NaN", std::isnan(got.weights(1, j)));
    verdict.equal("infinities", j, got.chosen[12 + j], last[j]);
  }
  return verdict;
}

template <class T>
void add(std::vector<Case>& cases) {
  const auto named = [](const char* what) {
    return fmt::format("router {}, {}", kTypeName<T>, what);
  };
  cases.push_back({named("128 experts"), [] { return router_case<T>(10, 128, 8, 0, true, 3); }});
  cases.push_back({named("a tail"), [] { return router_case<T>(9, 37, 5, 3, false, 1); }});
  cases.push_back({named("many experts"), [] { return router_case<T>(2, 300, 40, 1, true, 0); }});
  cases.push_back({named("all of many"), [] { return router_case<T>(1, 33, 33, 0, false, 0); }});
  cases.push_back({named("no token"), [] { return router_case<T>(0, 5, 2, 1, true, 1); }});
  cases.push_back({named("one expert"), [] { return router_case<T>(3, 1, 1, 0, true, 1); }});
}

}  // namespace

void add_router_cases(std::vector<Case>& cases) {
  add<float>(cases);
  add<bf16>(cases);
  cases.push_back(
      {"router, the most experts", [] { return router_case<float>(1, 1024, 2, 0, false, 0); }});
  cases.push_back({"router, odd logits", odd_logits_case});
}

}  // namespace espalier::testing
