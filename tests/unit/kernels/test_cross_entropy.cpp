#include "kernels/loss/cross_entropy.hpp"
#include "support.hpp"

namespace espalier {
namespace {

using device::Context;
using kernels::kIgnoredTarget;
using testing::Ids;
using testing::kRounding;
using testing::Matrix;
using testing::worst_error;

template <class T>
void check(std::int64_t tokens, std::int64_t vocabulary, std::int64_t parts) {
  CAPTURE(tokens, vocabulary, parts);
  Context context;
  Matrix<T> all(tokens, vocabulary);
  all.randomize("logits", 4.0);
  std::vector<std::uint32_t> ids;
  for (std::int64_t t = 0; t < tokens; ++t)
    ids.push_back(t % 5 == 3
                      ? kIgnoredTarget
                      : static_cast<std::uint32_t>((t * 7919 + vocabulary - 1) % vocabulary));
  Ids<std::uint32_t> targets(ids);

  // Each part holds `width` columns; the last ones of the last part are padding.
  const std::int64_t width = (vocabulary + parts - 1) / parts;
  std::vector<Matrix<T>> logits;
  Matrix<float> statistics(parts * tokens, 3), loss(1, tokens), log_sum_exp(1, tokens);
  const auto valid = [&](std::int64_t p) {
    return std::max<std::int64_t>(0, std::min(width, vocabulary - p * width));
  };
  for (std::int64_t p = 0; p < parts; ++p) {
    logits.emplace_back(tokens, width, 3);
    logits.back().fill(NAN);  // padding columns must never be read
    for (std::int64_t t = 0; t < tokens; ++t)
      for (std::int64_t c = 0; c < valid(p); ++c) logits.back().at(t, c) = all.at(t, p * width + c);
    kernels::cross_entropy_statistics(
        context, {.logits = logits.back().view(),
                  .targets = targets.view(),
                  .first_col = p * width,
                  .num_valid_cols = valid(p),
                  .statistics = statistics.view().row_range(p * tokens, tokens)});
  }
  kernels::cross_entropy_combine(context, {.statistics = statistics.view(),
                                           .targets = targets.view(),
                                           .num_parts = parts,
                                           .loss = loss.view(),
                                           .log_sum_exp = log_sum_exp.view()});
  std::vector<double> want(static_cast<std::size_t>(tokens));
  for (std::int64_t t = 0; t < tokens; ++t) {
    double sum = 0.0;
    for (std::int64_t c = 0; c < vocabulary; ++c) sum += std::exp(all(t, c));
    want[static_cast<std::size_t>(t)] = std::log(sum);
  }
  const auto want_lse = [&](auto, auto t) { return want[static_cast<std::size_t>(t)]; };
  CHECK(worst_error(log_sum_exp, want_lse) < 1e-6);
  CHECK(worst_error(loss, [&](auto, auto t) {
          return targets[t] == kIgnoredTarget ? 0.0 : want_lse(0, t) - all(t, targets[t]);
        }) < 2e-6);

  const float scale = 0.125f;
  for (std::int64_t p = 0; p < parts; ++p) {
    Matrix<T>& gradient = logits[static_cast<std::size_t>(p)];
    kernels::cross_entropy_backward(context, {.logits = gradient.view(),
                                              .targets = targets.view(),
                                              .log_sum_exp = log_sum_exp.view(),
                                              .first_col = p * width,
                                              .num_valid_cols = valid(p),
                                              .scale = scale});
    const auto want_gradient = [&](auto t, auto c) {
      if (targets[t] == kIgnoredTarget || c >= valid(p)) return 0.0;
      const double one = targets[t] == p * width + c ? 1.0 : 0.0;
      return 0.125 * (std::exp(all(t, p * width + c) - want_lse(0, t)) - one);
    };
    CHECK(worst_error(gradient, want_gradient, 1e-3) < kRounding<T> + 5e-6);
    CHECK(gradient.padding_untouched());
  }
}

}  // namespace

TEMPLATE_TEST_CASE("cross-entropy over parts of the vocabulary", "[loss]", float, bf16) {
  check<TestType>(20, 1000, 1);
  check<TestType>(7, 1003, 4);
  check<TestType>(9, 9001, 2);  // more than one part of the online sum
  check<TestType>(3, 5, 4);     // the last part has padding only
  check<TestType>(1, 1, 1);
}

namespace {

/// The loss of each row of fp32 logits that one rank has all columns of.
Matrix<float> losses_of(Matrix<float>& logits, const std::vector<std::uint32_t>& ids) {
  Context context;
  Matrix<float> statistics(logits.rows(), 3), loss(1, logits.rows()), lse(1, logits.rows());
  Ids<std::uint32_t> targets(ids);
  kernels::cross_entropy_statistics(context, {.logits = logits.view(),
                                              .targets = targets.view(),
                                              .first_col = 0,
                                              .num_valid_cols = logits.cols(),
                                              .statistics = statistics.view()});
  kernels::cross_entropy_combine(context, {.statistics = statistics.view(),
                                           .targets = targets.view(),
                                           .num_parts = 1,
                                           .loss = loss.view(),
                                           .log_sum_exp = lse.view()});
  return loss;
}

}  // namespace

TEST_CASE("a NaN or an infinity among the logits reaches the loss", "[loss]") {
  for (const float bad : {static_cast<float>(NAN), INFINITY}) {
    for (std::int64_t place : {0, 13, 4999, 5000}) {
      Matrix<float> logits(2, 5001);
      logits.randomize("logits");
      logits.at(1, place) = bad;
      const Matrix<float> loss = losses_of(logits, {3, 3});
      CHECK(std::isfinite(loss(0, 0)));
      CHECK_FALSE(std::isfinite(loss(0, 1)));
    }
  }
}

TEST_CASE("cross-entropy of equal and of far logits", "[loss]") {
  Matrix<float> logits(2, 64);
  logits.at(1, 5) = 1000.0f;
  const Matrix<float> loss = losses_of(logits, {63, 5});
  CHECK(loss(0, 0) == Approx(std::log(64.0)));
  CHECK(loss(0, 1) == 0.0);
}

}  // namespace espalier
