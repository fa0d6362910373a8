// The choice of experts, its gradient against differences, and the losses of balance.
#include <algorithm>
#include <functional>
#include <numeric>

#include "kernels/moe/router.hpp"
#include "support.hpp"

namespace espalier {
namespace {

using testing::Ids;
using testing::Matrix;
using testing::worst_error;

using Row = std::vector<double>;

/// Softmax and log(sum(exp)) of a row.
Row softmax(const Row& logits, double& log_sum_exp) {
  const double maximum = *std::max_element(logits.begin(), logits.end());
  Row p;
  double sum = 0.0;
  for (const double x : logits) sum += std::exp(x - maximum);
  log_sum_exp = std::log(sum) + maximum;
  for (const double x : logits) p.push_back(std::exp(x - log_sum_exp));
  return p;
}

/// The k best of `scores`, of equals the first.
std::vector<std::int64_t> best(const Row& scores, std::int64_t k) {
  std::vector<std::int64_t> order(scores.size());
  std::iota(order.begin(), order.end(), 0);
  std::stable_sort(order.begin(), order.end(), [&](auto a, auto b) {
    return scores[static_cast<std::size_t>(a)] > scores[static_cast<std::size_t>(b)];
  });
  order.resize(static_cast<std::size_t>(k));
  return order;
}

struct Router {
  Router(std::int64_t tokens, std::int64_t num_experts, std::int64_t num_chosen,
         std::int64_t padding = 3)
      : T(tokens),
        E(num_experts),
        k(num_chosen),
        logits(T, E, padding),
        bias(1, E),
        p(T, E, padding),
        lse(1, T),
        chosen(static_cast<std::size_t>(T * k)),
        weights(T, k, padding),
        d_weights(T, k, padding) {
    logits.randomize("logits", 2.0);
    bias.randomize("bias", 0.05);
    d_weights.randomize("d_weights");
  }
  device::View experts() { return device::view_of(chosen.data(), T, k); }
  void forward(bool normalize, bool with_bias = false) {
    kernels::router_forward(context, {.logits = logits.view(),
                                      .bias = with_bias ? bias.view() : device::View{},
                                      .normalize = normalize,
                                      .probabilities = p.view(),
                                      .log_sum_exp = lse.view(),
                                      .experts = experts(),
                                      .weights = weights.view()});
  }
  Row row(std::int64_t t) const {
    Row values;
    for (std::int64_t e = 0; e < E; ++e) values.push_back(logits(t, e));
    return values;
  }
  std::int32_t expert(std::int64_t t, std::int64_t j) const {
    return chosen[static_cast<std::size_t>(t * k + j)];
  }

  device::Context context;
  std::int64_t T, E, k;
  Matrix<float> logits, bias, p, lse;
  std::vector<std::int32_t> chosen;
  Matrix<float> weights, d_weights;
};

void check_forward(std::int64_t T, std::int64_t E, std::int64_t k, bool normalize, bool with_bias) {
  CAPTURE(T, E, k, normalize, with_bias);
  Router r(T, E, k);
  r.forward(normalize, with_bias);
  CHECK(r.p.padding_untouched());
  CHECK(r.weights.padding_untouched());
  for (std::int64_t t = 0; t < T; ++t) {
    double lse = 0.0;
    const Row p = softmax(r.row(t), lse);
    CHECK(std::abs(r.lse(0, t) - lse) < 1e-6 * (1.0 + std::abs(lse)));
    // The choice is by the numbers of fp32 that the operator has.
    Row scores;
    for (std::int64_t e = 0; e < E; ++e) {
      CHECK(std::abs(r.p(t, e) - p[static_cast<std::size_t>(e)]) < 1e-6);
      scores.push_back(static_cast<double>(static_cast<float>(r.p(t, e)) +
                                           (with_bias ? static_cast<float>(r.bias(0, e)) : 0.0f)));
    }
    const auto want = best(scores, k);
    double sum = 0.0;
    for (const auto e : want) sum += p[static_cast<std::size_t>(e)];
    for (std::int64_t j = 0; j < k; ++j) {
      const std::int64_t e = want[static_cast<std::size_t>(j)];
      CHECK(r.expert(t, j) == e);
      const double weight = p[static_cast<std::size_t>(e)] / (normalize ? sum : 1.0);
      CHECK(std::abs(r.weights(t, j) - weight) < 2e-6);
    }
  }
}

/// What RouterBackward differentiates, of one token, in double precision: the choice is fixed.
double loss_of(const Row& logits, const std::vector<std::int32_t>& chosen, const Row& d_weights,
               bool normalize, const Row& counts, double balance_scale, double z_scale) {
  double lse = 0.0;
  const Row p = softmax(logits, lse);
  double sum = 0.0, weighted = 0.0, balance = 0.0;
  for (std::size_t j = 0; j < chosen.size(); ++j) {
    const double pe = p[static_cast<std::size_t>(chosen[j])];
    sum += pe;
    weighted += pe * d_weights[j];
  }
  for (std::size_t e = 0; e < counts.size(); ++e) balance += counts[e] * p[e];
  return weighted / (normalize ? sum : 1.0) + balance_scale * balance + z_scale * lse * lse / 2;
}

/// Sequences of three tokens; this rank has those from the micro-batch's second on.
constexpr kernels::TokenPlace kPlace{.first_token = 1, .tokens_per_sequence = 3};

template <class T>
void check_backward(bool normalize, std::int64_t num_counts) {
  CAPTURE(normalize, num_counts);
  Router r(7, 21, 4);
  r.forward(normalize);
  Matrix<float> counts(std::max<std::int64_t>(num_counts, 1), r.E, 2);
  counts.randomize("counts", 3.0, 5.0);
  Matrix<T> d_logits(r.T, r.E, 5);
  constexpr float kBalance = 0.03f, kZ = 0.2f;
  const auto gradient = [&](device::View out) {
    kernels::router_backward(r.context, {.probabilities = r.p.view(),
                                         .log_sum_exp = r.lse.view(),
                                         .experts = r.experts(),
                                         .weights = r.weights.view(),
                                         .normalize = normalize,
                                         .d_weights = r.d_weights.view(),
                                         .counts = num_counts > 0 ? counts.view() : device::View{},
                                         .place = kPlace,
                                         .balance_scale = kBalance,
                                         .z_scale = kZ,
                                         .d_logits = out});
  };
  gradient(d_logits.view());
  CHECK(d_logits.padding_untouched());
  double want_balance = 0.0, want_z = 0.0;
  const auto want = [&](std::int64_t t, std::int64_t e) {
    const std::int64_t sequence = num_counts > 1 ? (1 + t) / 3 : 0;
    Row n, d_weights;
    std::vector<std::int32_t> chosen;
    for (std::int64_t i = 0; num_counts > 0 && i < r.E; ++i) n.push_back(counts(sequence, i));
    for (std::int64_t j = 0; j < r.k; ++j) {
      chosen.push_back(r.expert(t, j));
      d_weights.push_back(r.d_weights(t, j));
    }
    Row logits = r.row(t);
    if (e == 0) {
      want_balance += loss_of(logits, {}, {}, false, n, double{kBalance}, 0.0);
      want_z += loss_of(logits, {}, {}, false, {}, 0.0, double{kZ});
    }
    constexpr double kStep = 1e-5;
    const auto at = [&](double step) {
      logits[static_cast<std::size_t>(e)] = r.logits(t, e) + step;
      return loss_of(logits, chosen, d_weights, normalize, n, double{kBalance}, double{kZ});
    };
    return (at(kStep) - at(-kStep)) / (2 * kStep);
  };
  CHECK(worst_error(d_logits, want) < testing::kRounding<T> + 2e-6);

  double sums[2] = {1.0, 2.0};
  kernels::balance_loss(r.context, {.probabilities = r.p.view(),
                                    .log_sum_exp = r.lse.view(),
                                    .counts = num_counts > 0 ? counts.view() : device::View{},
                                    .place = kPlace,
                                    .balance_scale = kBalance,
                                    .z_scale = kZ,
                                    .sums = device::view_of(sums, 1, 2)});
  CHECK(std::abs(sums[0] - 1.0 - want_balance) < 1e-6 * (1.0 + want_balance));
  CHECK(std::abs(sums[1] - 2.0 - want_z) < 1e-6 * (1.0 + want_z));

  if (sizeof(T) == 2) return;
  gradient(r.p.view());  // in place
  for (std::int64_t t = 0; t < r.T; ++t)
    for (std::int64_t e = 0; e < r.E; ++e) CHECK(r.p(t, e) == d_logits(t, e));
}

}  // namespace

TEST_CASE("a token's experts are those of its largest probabilities", "[moe][router]") {
  for (const bool normalize : {false, true})
    for (const bool with_bias : {false, true}) {
      check_forward(5, 37, 8, normalize, with_bias);
      check_forward(3, 128, 8, normalize, with_bias);
      check_forward(2, 4, 4, normalize, with_bias);
      check_forward(2, 1, 1, normalize, with_bias);
    }
}

TEST_CASE("of equal probabilities the lowest experts are chosen, in order", "[moe][router]") {
  Router r(3, 12, 4);
  r.logits.fill(0.5);
  r.logits.at(1, 7) = 1.0f;  // one before its equals
  r.logits.at(2, 3) = 0.25f;
  r.forward(true);
  const std::vector<std::int32_t> want = {0, 1, 2, 3, 7, 0, 1, 2, 0, 1, 2, 4};
  CHECK(r.chosen == want);
  CHECK(r.weights(0, 3) == 0.25);
}

TEST_CASE("the router writes over its logits as beside them", "[moe][router]") {
  Router r(4, 19, 3);
  r.forward(true);
  const auto chosen = r.chosen;
  kernels::router_forward(r.context, {.logits = r.logits.view(),
                                      .bias = {},
                                      .normalize = true,
                                      .probabilities = r.logits.view(),
                                      .log_sum_exp = r.lse.view(),
                                      .experts = r.experts(),
                                      .weights = r.weights.view()});
  CHECK(r.logits.same_bits(r.p));
  CHECK(r.chosen == chosen);
}

TEST_CASE("logits that are not numbers leave experts in range, each once", "[moe][router]") {
  Router r(2, 6, 6);
  r.logits.at(0, 2) = NAN;
  r.logits.at(1, 4) = -INFINITY;
  r.forward(true);
  for (std::int64_t t = 0; t < 2; ++t) {
    std::vector<std::int32_t> seen(r.chosen.begin() + t * 6, r.chosen.begin() + t * 6 + 6);
    std::sort(seen.begin(), seen.end());
    CHECK(seen == std::vector<std::int32_t>{0, 1, 2, 3, 4, 5});
  }
  CHECK(std::isnan(r.weights(0, 0)));
  CHECK(r.expert(1, 5) == 4);
  CHECK(r.weights(1, 5) == 0.0);
}

TEMPLATE_TEST_CASE("the router's gradient is that of differences", "[moe][router]", float, bf16) {
  for (const bool normalize : {false, true})
    for (const std::int64_t num_counts : {0, 1, 3}) check_backward<TestType>(normalize, num_counts);
}

TEST_CASE("counts of too few sequences are refused", "[moe][router]") {
  Router r(6, 5, 2);
  r.forward(false);
  Matrix<float> counts(2, 5);
  double sums[2] = {};
  CHECK_THROWS_WITH(kernels::balance_loss(r.context, {.probabilities = r.p.view(),
                                                      .log_sum_exp = r.lse.view(),
                                                      .counts = counts.view(),
                                                      .place = kPlace,
                                                      .sums = device::view_of(sums, 1, 2)}),
                    Catch::Matchers::Contains("3 in a sequence"));
}

}  // namespace espalier
