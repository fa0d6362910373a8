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

}  // namespace

TEST_CASE("half of the published rows are predicted within 15 %") {
  std::vector<double> errors;
  for (const auto& row : testing::published_rows())
    errors.push_back(std::abs(error_of(row.predicted(), row.measured)));
  REQUIRE(errors.size() >= 25);
  CHECK(median(errors) <= 0.15);
}

TEST_CASE("the table of the published rows", "[.published]") {
  std::vector<double> all;
  std::printf(
      "| program | model | device | S | GPUs | tensor x context x data x pipeline (chunks) | "
      "ZeRO | micro | again | FP8 | measured | predicted | error | products | attention | memory | "
      "tensor | data | bubble |\n|%s\n",
      "---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|---|");
  for (const auto& row : testing::published_rows()) {
    plan::StepTime t;
    const double predicted = row.predicted(&t);
    const double error = error_of(predicted, row.measured);
    all.push_back(std::abs(error));
    const auto& l = row.layout;
    const auto share = [&](double seconds) { return 100.0 * seconds / t.step(); };
    const std::string chunks =
        l.virtual_stages > 1 ? " (" + std::to_string(l.virtual_stages) + ")" : "";
    std::printf(
        "| %s | %s | %s | %lld | %lld | %lld x %lld x %lld x %lld%s | %lld | %lld | %s | %s | %.0f "
        "| %.0f | %+.1f %% | %.0f | %.0f | %.0f | %.0f | %.0f | %.0f |\n",
        row.program.c_str(), row.model.c_str(), row.device.c_str(),
        static_cast<long long>(row.parameters.training.sequence_length),
        static_cast<long long>(l.ranks()), static_cast<long long>(l.tensor),
        static_cast<long long>(l.context), static_cast<long long>(l.data),
        static_cast<long long>(l.pipeline), chunks.c_str(), static_cast<long long>(l.zero_stage),
        static_cast<long long>(row.parameters.training.micro_batch_size), l.recompute.c_str(),
        l.fp8 ? "yes" : "", row.measured, predicted, 100.0 * error, share(t.products),
        share(t.attention), share(t.memory_bound), share(t.tensor_exposed), share(t.data_exposed),
        share(t.bubble));
  }
  std::printf("\n%zu rows, median error %.1f %%\n", all.size(), 100.0 * median(all));
}
