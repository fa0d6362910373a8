#include "cases.hpp"

namespace espalier::testing {
namespace {

using kernels::kIgnoredTarget;

/// A vocabulary over `parts` ranks; the last columns of the last part are padding.
template <class T>
Verdict cross_entropy_case(std::int64_t tokens, std::int64_t vocabulary, std::int64_t parts,
                           std::int64_t padding) {
  device::Context context;
  TestQueue queue;
  const std::int64_t width = (vocabulary + parts - 1) / parts;
  std::vector<std::uint32_t> ids;
  for (std::int64_t t = 0; t < tokens; ++t)
    ids.push_back(t % 5 == 3 ? kIgnoredTarget : static_cast<std::uint32_t>(t * 7919 % vocabulary));
  Ids<std::uint32_t> targets(ids);
  Matrix<float> want(parts * tokens, 3), got(parts * tokens, 3);
  Matrix<float> losses_want(2, tokens), losses_got(2, tokens);
  std::vector<Matrix<T>> logits;
  const auto valid = [&](std::int64_t p) {
    return std::max<std::int64_t>(0, std::min(width, vocabulary - p * width));
  };
  Verdict verdict;
  for (std::int64_t p = 0; p < parts; ++p) {
    logits.emplace_back(tokens, width, padding);
    logits.back().randomize(fmt::format("logits {}", p), 3.0);
    for (std::int64_t t = 0; t < tokens; ++t)
      for (std::int64_t c = valid(p); c < width; ++c) logits.back().at(t, c) = T(NAN);
    const auto call = [&](Matrix<float>& statistics) {
      return kernels::CrossEntropyStatistics{
          .logits = logits.back().view(),
          .targets = targets.view(),
          .first_col = p * width,
          .num_valid_cols = valid(p),
          .statistics = statistics.view().row_range(p * tokens, tokens)};
    };
    kernels::cross_entropy_statistics(context, call(want));
    kernels::ESPALIER_GPU::cross_entropy_statistics(queue, call(got));
  }
  if (valid(parts - 1) > 0)
    // The host's exponential for bf16 is good to 2^-16; an empty part has a maximum of -inf.
    verdict.close("statistics", got, want, sizeof(T) == 2 ? 1e-4 : 1e-5);
  const auto combine = [&](Matrix<float>& statistics, Matrix<float>& losses) {
    return kernels::CrossEntropyCombine{.statistics = statistics.view(),
                                        .targets = targets.view(),
                                        .num_parts = parts,
                                        .loss = losses.view().row_range(0, 1),
                                        .log_sum_exp = losses.view().row_range(1, 1)};
  };
  kernels::cross_entropy_combine(context, combine(want, losses_want));
  kernels::ESPALIER_GPU::cross_entropy_combine(queue, combine(want, losses_got));
  verdict.close("losses", losses_got, losses_want, 1e-5);
  for (std::int64_t p = 0; p < parts; ++p) {
    Matrix<T> gradient_want = logits[static_cast<std::size_t>(p)];
    Matrix<T> gradient = gradient_want;
    const auto call = [&](Matrix<T>& matrix) {
      return kernels::CrossEntropyBackward{.logits = matrix.view(),
                                           .targets = targets.view(),
                                           .log_sum_exp = losses_want.view().row_range(1, 1),
                                           .first_col = p * width,
                                           .num_valid_cols = valid(p),
                                           .scale = 0.125f};
    };
    kernels::cross_entropy_backward(context, call(gradient_want));
    kernels::ESPALIER_GPU::cross_entropy_backward(queue, call(gradient));
    verdict.close("gradient", gradient, gradient_want, tolerance_of<T>());
  }
  return verdict;
}

/// A NaN or an infinity among the logits must reach the loss.
Verdict bad_logit_case(float bad) {
  TestQueue queue;
  Verdict verdict;
  for (std::int64_t place : {0, 13, 1199, 1200}) {
    Matrix<float> logits(2, 1201, 3), statistics(2, 3), losses(2, 2);
    logits.randomize("logits");
    logits.at(1, place) = bad;
    Ids<std::uint32_t> targets({3, 3});
    kernels::ESPALIER_GPU::cross_entropy_statistics(queue, {.logits = logits.view(),
                                                            .targets = targets.view(),
                                                            .first_col = 0,
                                                            .num_valid_cols = 1201,
                                                            .statistics = statistics.view()});
    kernels::ESPALIER_GPU::cross_entropy_combine(queue,
                                                 {.statistics = statistics.view(),
                                                  .targets = targets.view(),
                                                  .num_parts = 1,
                                                  .loss = losses.view().row_range(0, 1),
                                                  .log_sum_exp = losses.view().row_range(1, 1)});
    verdict.expect("the good row", std::isfinite(losses(0, 0)));
    verdict.expect("the bad row", !std::isfinite(losses(0, 1)));
  }
  return verdict;
}

template <class T>
void add(std::vector<Case>& cases) {
  const auto named = [](const char* what) {
    return fmt::format("cross_entropy {}, {}", kTypeName<T>, what);
  };
  cases.push_back({named("one part"), [] { return cross_entropy_case<T>(9, 2000, 1, 8); }});
  cases.push_back(
      {named("four parts, not aligned"), [] { return cross_entropy_case<T>(7, 1003, 4, 3); }});
  cases.push_back({named("two tiles"), [] { return cross_entropy_case<T>(2, 8201, 1, 7); }});
  cases.push_back({named("a part of padding"), [] { return cross_entropy_case<T>(3, 5, 4, 0); }});
  cases.push_back({named("one element"), [] { return cross_entropy_case<T>(1, 1, 1, 0); }});
}

}  // namespace

void add_cross_entropy_cases(std::vector<Case>& cases) {
  add<float>(cases);
  add<bf16>(cases);
  cases.push_back({"cross_entropy, a NaN", [] { return bad_logit_case(NAN); }});
  cases.push_back({"cross_entropy, an infinity", [] { return bad_logit_case(INFINITY); }});
}

}  // namespace espalier::testing
