#include <algorithm>
#include <cmath>

#include "plan/scaling/fit_report.hpp"

namespace espalier::plan {
namespace {

constexpr std::size_t kMostCurves = 8;  // more cannot be told apart
constexpr int kPointsOfCurve = 60;

std::string size_name(double parameters) {
  return parameters < 1e9 ? fmt::format("N = {:.3g}M", parameters / 1e6)
                          : fmt::format("N = {:.3g}B", parameters / 1e9);
}

/// Points of the same N, to a hundredth, fitted ones and others.
struct Size {
  double parameters;
  std::vector<report::Point> fitted, held_back;
};

std::vector<Size> sizes_of(const FitReport& r) {
  std::vector<Size> sizes;
  const auto add = [&](const FitPoint& p, std::vector<report::Point> Size::*where) {
    auto size = std::find_if(sizes.begin(), sizes.end(), [&](const Size& s) {
      return std::abs(s.parameters - p.parameters) <= 0.01 * p.parameters;
    });
    if (size == sizes.end())
      size = sizes.insert(sizes.end(), {.parameters = p.parameters, .fitted = {}, .held_back = {}});
    ((*size).*where).push_back({.x = p.tokens, .y = p.loss});
  };
  for (const FitPoint& p : r.points) add(p, &Size::fitted);
  for (const FitPoint& p : r.held_back) add(p, &Size::held_back);
  std::sort(sizes.begin(), sizes.end(),
            [](const Size& a, const Size& b) { return a.parameters < b.parameters; });
  return sizes;
}

report::XyChart loss_over_tokens(const FitReport& r, const std::vector<Size>& sizes) {
  report::XyChart chart{.title = "Loss over tokens: measured, and the law",
                        .x = {"D, tokens", true},
                        .y = {"loss, nats per token", true},
                        .series = {}};
  double low = r.points.front().tokens, high = low;
  for (const Size& size : sizes)
    for (const auto* points : {&size.fitted, &size.held_back})
      for (const report::Point& p : *points) low = std::min(low, p.x), high = std::max(high, p.x);
  for (const Size& size : sizes) {
    report::Series curve{.name = "", .points = {}};
    for (int i = 0; i <= kPointsOfCurve; ++i) {
      const double tokens = low * std::pow(high / low, static_cast<double>(i) / kPointsOfCurve);
      curve.points.push_back({.x = tokens, .y = r.fit.law.loss(size.parameters, tokens)});
    }
    curve.points.back().label = size_name(size.parameters);
    chart.series.push_back(std::move(curve));
    if (!size.fitted.empty())
      chart.series.push_back({.name = size_name(size.parameters),
                              .points = size.fitted,
                              .joined = false,
                              .marked = true});
    if (!size.held_back.empty())
      chart.series.push_back({.name = size_name(size.parameters) + ", not fitted",
                              .points = size.held_back,
                              .joined = false,
                              .marked = true});
  }
  return chart;
}

report::XyChart measured_over_fitted(const FitReport& r) {
  report::XyChart chart{.title = "Loss: measured over fitted",
                        .x = {"fitted, nats per token", true},
                        .y = {"measured, nats per token", true},
                        .series = {}};
  double low = r.points.front().loss, high = low;
  const auto series = [&](const char* name, std::span<const FitPoint> points) {
    report::Series measured{.name = name, .points = {}, .joined = false, .marked = true};
    for (const FitPoint& p : points) {
      const double fitted = r.fit.law.loss(p.parameters, p.tokens);
      measured.points.push_back({.x = fitted, .y = p.loss});
      low = std::min({low, fitted, p.loss});
      high = std::max({high, fitted, p.loss});
    }
    if (!points.empty()) chart.series.push_back(std::move(measured));
  };
  series("fitted", r.points);
  series("not fitted", r.held_back);
  chart.series.push_back(
      {.name = "equal", .points = {{low, low}, {high, high}}, .joined = true, .dashed = true});
  return chart;
}

}  // namespace

report::XyChart fit_chart(const FitReport& r) {
  const std::vector<Size> sizes = sizes_of(r);
  return sizes.size() <= kMostCurves ? loss_over_tokens(r, sizes) : measured_over_fitted(r);
}

}  // namespace espalier::plan
