// The time model beside what other programs measured; none of it set a constant.
#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>

#include "unit/time/published_rows.hpp"

using namespace espalier;

namespace {

double error_of(double predicted, double measured) {
  return predicted / measured - 1.0;
}

double median(std::vector<double> values) {
  std::sort(values.begin(), values.end());
  const std::size_t n = values.size();
  return n % 2 == 1 ? values[n / 2] : 0.5 * (values[n / 2 - 1] + values[n / 2]);
}

/// Long enough for attention to be most of a step.
bool is_long(const testing::PublishedRow& row) {
  return row.parameters.training.sequence_length > 16384;
}

}  // namespace

TEST_CASE("half of the published rows of sequences up to 16,384 tokens are predicted within 15 %") {
  std::vector<double> errors;
  for (const auto& row : testing::published_rows())
    if (!is_long(row)) errors.push_back(std::abs(error_of(row.predicted(), row.measured)));
  REQUIRE(errors.size() >= 25);
  CHECK(median(errors) <= 0.15);
}

// Most of their time is attention, whose rates are the best that were published.
TEST_CASE("of longer sequences over context ranks the model says what nobody has passed") {
  std::vector<double> errors;
  for (const auto& row : testing::published_rows())
    if (is_long(row)) errors.push_back(error_of(row.predicted(), row.measured));
  REQUIRE(errors.size() >= 16);
  CHECK(*std::min_element(errors.begin(), errors.end()) > 0.0);
  CHECK(median(errors) <= 0.4);
}

TEST_CASE("the table of the published rows", "[.published]") {
  std::vector<double> all, of_long;
  std::printf(
      "| program | model | device | S | GPUs | tensor x context x data x pipeline (chunks) | "
      "ZeRO | micro | again | FP8 | measured | predicted | error | products | attention | memory | "
      "tensor | context | data | bubble |\n|%s\n",
      "---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|");
  for (const auto& row : testing::published_rows()) {
    plan::StepTime t;
    const double predicted = row.predicted(&t);
    const double error = error_of(predicted, row.measured);
    (is_long(row) ? of_long : all).push_back(std::abs(error));
    const auto& l = row.layout;
    const auto share = [&](double seconds) { return 100.0 * seconds / t.step(); };
    const std::string chunks =
        l.virtual_stages > 1 ? " (" + std::to_string(l.virtual_stages) + ")" : "";
    std::printf(
        "| %s | %s | %s | %lld | %lld | %lld x %lld x %lld x %lld%s | %lld | %lld | %s | %s | %.0f "
        "| %.0f | %+.1f %% | %.0f | %.0f | %.0f | %.0f | %.0f | %.0f | %.0f |\n",
        row.program.c_str(), row.model.c_str(), row.device.c_str(),
        static_cast<long long>(row.parameters.training.sequence_length),
        static_cast<long long>(l.ranks()), static_cast<long long>(l.tensor),
        static_cast<long long>(l.context), static_cast<long long>(l.data),
        static_cast<long long>(l.pipeline), chunks.c_str(), static_cast<long long>(l.zero_stage),
        static_cast<long long>(row.parameters.training.micro_batch_size), l.recompute.c_str(),
        l.fp8 ? "yes" : "", row.measured, predicted, 100.0 * error, share(t.products),
        share(t.attention), share(t.memory_bound), share(t.tensor_exposed),
        share(t.context_exposed), share(t.data_exposed), share(t.bubble));
  }
  std::printf(
      "\n%zu rows of at most 16,384 tokens, median error %.1f %%; %zu longer ones, %.1f %%\n",
      all.size(), 100.0 * median(all), of_long.size(), 100.0 * median(of_long));
}
