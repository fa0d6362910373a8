#include "plan/scaling/fit_report.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <functional>
#include <limits>
#include <numeric>

#include "base/text.hpp"
#include "config/field.hpp"

namespace espalier::plan {
namespace {

using report::Cell;
using report::Format;
using report::Table;

constexpr double kUnknown = std::numeric_limits<double>::quiet_NaN();

/// Four digits and a letter: "3.295M"; from a thousand trillions on "1.234e+16".
std::string short_count(double count) {
  constexpr std::array kUnits = {"", "K", "M", "B", "T"};
  std::size_t unit = 0;
  double shown = count;
  for (; shown >= 999.95 && unit + 1 < kUnits.size(); ++unit) shown /= 1000.0;
  if (shown >= 999.95) return fmt::format("{:.4g}", count);
  const int digits = shown < 10.0 ? 3 : shown < 100.0 ? 2 : 1;
  return unit == 0 ? fmt::format("{:.4g}", count)
                   : fmt::format("{:.{}f}{}", shown, digits, kUnits[unit]);
}

std::string shown_interval(const Interval& interval, const std::function<std::string(double)>& as) {
  return std::isnan(interval.low) ? std::string("-")
                                  : fmt::format("{} to {}", as(interval.low), as(interval.high));
}
std::string as_loss(double loss) {
  return fmt::format("{:.4f}", loss);
}
std::string as_factor(double factor) {
  return factor < 1e6 ? fmt::format("{:.5g}", factor) : fmt::format("{:.3e}", factor);
}

struct Quantity {
  std::string key, heading;
  std::function<double(const LossLaw&)> of;
  std::function<std::string(double)> shown;
};

std::vector<Quantity> constants() {
  return {{"e", "e, nats", [](const LossLaw& l) { return l.e; }, as_loss},
          {"a", "a", [](const LossLaw& l) { return l.a; }, as_factor},
          {"alpha", "alpha", [](const LossLaw& l) { return l.alpha; }, as_loss},
          {"b", "b", [](const LossLaw& l) { return l.b; }, as_factor},
          {"beta", "beta", [](const LossLaw& l) { return l.beta; }, as_loss}};
}

double most_flops(std::span<const FitPoint> points) {
  double most = 0.0;
  for (const FitPoint& p : points) most = std::max(most, 6.0 * p.parameters * p.tokens);
  return most;
}

/// What the law says of the best division of C = 6 N D.
std::vector<Quantity> optima(const FitReport& r) {
  const double flops = most_flops(r.points);
  return {{"parameter_exponent", "best N grows as C to the power",
           [](const LossLaw& l) { return optimum_of(l).parameter_exponent; }, as_loss},
          {"token_exponent", "best D grows as C to the power",
           [](const LossLaw& l) { return optimum_of(l).token_exponent; }, as_loss},
          {"tokens_per_parameter", fmt::format("best D / N at C = {:.3g} FLOPs", flops),
           [flops](const LossLaw& l) {
             const Optimum optimum = optimum_of(l);
             return optimum.tokens(flops) / optimum.parameters(flops);
           },
           as_factor}};
}

std::string per_cent(const FitReport& r) {
  return fmt::format("{:.4g} %", 100.0 * r.fit.options.confidence);
}

// For people --------------------------------------------------------------------------------------

std::string print_constants(const FitReport& r, Format format) {
  Table table({{"name", "constant"}, {"value", "value"}, {"interval", per_cent(r) + " interval"}});
  const auto add = [&](const std::vector<Quantity>& quantities) {
    for (const Quantity& quantity : quantities) {
      const double value = quantity.of(r.fit.law);
      table.add({quantity.heading, Cell(value, quantity.shown(value)),
                 shown_interval(interval_of(r.fit, quantity.of), quantity.shown)});
    }
  };
  add(constants());
  add(optima(r));
  return table.print(format);
}

std::string print_points(const FitReport& r, Format format) {
  std::vector<std::size_t> order(r.points.size());
  std::iota(order.begin(), order.end(), std::size_t{0});
  const bool is_cut = r.rows > 0 && r.rows < order.size();
  if (is_cut) {
    std::stable_sort(order.begin(), order.end(), [&](std::size_t i, std::size_t k) {
      return std::abs(r.fit.residuals[i]) > std::abs(r.fit.residuals[k]);
    });
    order.resize(r.rows);
  }
  Table table({{"name", "point"},
               {"parameters", "N"},
               {"tokens", "D"},
               {"measured", "measured"},
               {"fitted", "fitted"},
               {"difference", "difference"}});
  for (const std::size_t i : order) {
    const FitPoint& p = r.points[i];
    const double fitted = r.fit.law.loss(p.parameters, p.tokens), difference = p.loss - fitted;
    table.add({p.name, Cell(p.parameters, short_count(p.parameters)),
               Cell(p.tokens, short_count(p.tokens)), Cell(p.loss, as_loss(p.loss)),
               Cell(fitted, as_loss(fitted)),
               Cell(difference, fmt::format("{:+.4f}", difference))});
  }
  std::string text;
  if (is_cut)
    text = fmt::format("The {} of {} points with the largest differences (plan.rows=0: all)\n",
                       order.size(), r.points.size());
  return text + table.print(format);
}

std::string print_predictions(const FitReport& r, Format format) {
  if (r.held_back.empty() && r.asked.empty()) return {};
  std::vector<report::Column> columns = {{"name", "not fitted"},
                                         {"parameters", "N"},
                                         {"tokens", "D"},
                                         {"expected", "expected"},
                                         {"run", per_cent(r) + " of runs"},
                                         {"law", per_cent(r) + " of laws"}};
  const bool has_measured = !r.held_back.empty();
  if (has_measured) {
    columns.push_back({"measured", "measured"});
    columns.push_back({"difference", "difference"});
  }
  Table table(std::move(columns));
  const auto add = [&](const FitPoint& p, bool is_measured) {
    const Prediction expected = predict(r.fit, p.parameters, p.tokens);
    std::vector<Cell> row = {p.name,
                             Cell(p.parameters, short_count(p.parameters)),
                             Cell(p.tokens, short_count(p.tokens)),
                             Cell(expected.loss, as_loss(expected.loss)),
                             shown_interval(expected.run, as_loss),
                             shown_interval(expected.law, as_loss)};
    if (has_measured) {
      const double difference = p.loss - expected.loss;
      row.push_back(is_measured ? Cell(p.loss, as_loss(p.loss)) : Cell(kUnknown, ""));
      row.push_back(is_measured ? Cell(difference, fmt::format("{:+.4f}", difference))
                                : Cell(kUnknown, ""));
    }
    table.add(std::move(row));
  };
  for (const FitPoint& p : r.held_back) add(p, true);
  for (const FitPoint& p : r.asked) add(p, false);
  return "\n" + table.print(format);
}

std::pair<double, double> range_of(std::span<const FitPoint> points, double FitPoint::*member) {
  const auto [low, high] = std::minmax_element(
      points.begin(), points.end(),
      [&](const FitPoint& a, const FitPoint& b) { return a.*member < b.*member; });
  return {(*low).*member, (*high).*member};
}

std::string describe(const FitReport& r) {
  const auto [n_low, n_high] = range_of(r.points, &FitPoint::parameters);
  const auto [d_low, d_high] = range_of(r.points, &FitPoint::tokens);
  double squares = 0.0;
  for (const double residual : r.fit.residuals) squares += residual * residual;
  std::string text = fmt::format(
      "L(N, D) = e + a / N^alpha + b / D^beta fitted to {} points\n"
      "N from {} to {}{}, D from {} to {} tokens\n"
      "root mean square of the differences {:.2g} %; {} of the {} best of {} starts end here\n",
      r.points.size(), short_count(n_low), short_count(n_high),
      r.what_n_counts == "all" ? "" : " (without embedding and LM head)", short_count(d_low),
      short_count(d_high), 100.0 * std::sqrt(squares / static_cast<double>(r.points.size())),
      r.fit.num_at_best, r.fit.num_followed, with_commas(r.fit.num_starts));
  if (r.fit.resampled.empty())
    text += r.points.size() <= 5
                ? "no intervals: the law goes through all points; they need at least six\n"
                : "no intervals: fit.resamples = 0\n";
  return text;
}

/// What a person should know before a plan is built on it.
std::string warnings(const FitReport& r) {
  std::string text;
  const Interval e = interval_of(r.fit, [](const LossLaw& law) { return law.e; });
  if (r.fit.law.e < 0.01 || e.low < 0.01)
    text +=
        "These points do not tell e from 0: far beyond their N and D the law is only an\n"
        "extrapolation of powers. Runs over a wider range of N and D would tell it.\n";
  if (std::ssize(r.fit.resampled) < r.fit.options.resamples && !r.fit.resampled.empty())
    text += fmt::format("Only {} resamples had points enough for a law.\n", r.fit.resampled.size());
  return text.empty() ? text : "\n" + text;
}

// For programs ------------------------------------------------------------------------------------

/// Appends a row for a constant or an optimum.
void add_quantities(Table& table, const FitReport& r, const std::string& kind,
                    const std::vector<Quantity>& quantities) {
  for (const Quantity& quantity : quantities) {
    const Interval interval = interval_of(r.fit, quantity.of);
    const double value = quantity.of(r.fit.law);
    std::vector<Cell> row;
    if (!kind.empty()) row.emplace_back(kind);
    row.emplace_back(quantity.key);
    if (!kind.empty()) row.insert(row.end(), 3, Cell(kUnknown, ""));
    for (const double number : {value, interval.low, interval.high}) row.emplace_back(number, "");
    if (!kind.empty()) row.insert(row.end(), 2, Cell(kUnknown, ""));
    table.add(std::move(row));
  }
}

/// Name, N, D, measured, value, the interval of the law, and that of runs.
void add_points(Table& table, const FitReport& r, const std::string& kind,
                std::span<const FitPoint> points, bool is_measured) {
  for (const FitPoint& p : points) {
    const Prediction expected = predict(r.fit, p.parameters, p.tokens);
    std::vector<Cell> row;
    if (!kind.empty()) row.emplace_back(kind);
    row.emplace_back(p.name);
    for (const double number :
         {p.parameters, p.tokens, is_measured ? p.loss : kUnknown, expected.loss, expected.law.low,
          expected.law.high, expected.run.low, expected.run.high})
      row.emplace_back(number, "");
    table.add(std::move(row));
  }
}

const std::vector<report::Column> kQuantityColumns = {
    {"name", ""}, {"value", ""}, {"low", ""}, {"high", ""}};
const std::vector<report::Column> kPointColumns = {
    {"name", ""}, {"parameters", ""}, {"tokens", ""},  {"measured", ""}, {"value", ""},
    {"low", ""},  {"high", ""},       {"run_low", ""}, {"run_high", ""}};

std::string print_csv(const FitReport& r) {
  std::vector<report::Column> columns = {{"kind", ""}};
  columns.insert(columns.end(), kPointColumns.begin(), kPointColumns.end());
  Table table(std::move(columns));
  add_quantities(table, r, "constant", constants());
  add_quantities(table, r, "optimum", optima(r));
  add_points(table, r, "fitted", r.points, true);
  add_points(table, r, "held_back", r.held_back, true);
  add_points(table, r, "predicted", r.asked, false);
  return table.print(Format::csv);
}

std::string print_json(const FitReport& r) {
  std::string text = "{\n";
  text += fmt::format(
      "\"counts\": \"{}\",\n\"confidence\": {},\n\"huber_loss\": {},\n\"resamples\": {},\n",
      r.what_n_counts, r.fit.options.confidence, r.fit.objective, r.fit.resampled.size());
  const auto add_list = [&](const char* key, const Table& table, const char* end) {
    std::string list = table.num_rows() > 0 ? table.print(Format::json) : "[]\n";
    list.pop_back();
    text += fmt::format("\"{}\": {}{}\n", key, list, end);
  };
  Table constant(kQuantityColumns), optimum(kQuantityColumns);
  add_quantities(constant, r, "", constants());
  add_quantities(optimum, r, "", optima(r));
  Table fitted(kPointColumns), held_back(kPointColumns), predicted(kPointColumns);
  add_points(fitted, r, "", r.points, true);
  add_points(held_back, r, "", r.held_back, true);
  add_points(predicted, r, "", r.asked, false);
  add_list("constants", constant, ",");
  add_list("optimum", optimum, ",");
  add_list("fitted", fitted, ",");
  add_list("held_back", held_back, ",");
  add_list("predicted", predicted, "");
  return text + "}\n";
}

}  // namespace

std::string print_fit(const FitReport& report, Format format) {
  if (format == Format::csv) return print_csv(report);
  if (format == Format::json) return print_json(report);
  return (format == Format::text ? describe(report) + "\n" : std::string()) +
         print_constants(report, format) + "\n" + print_points(report, format) +
         print_predictions(report, format) +
         (format == Format::text ? warnings(report) : std::string());
}

std::string law_file(const FitReport& r, const std::string& made_of) {
  const auto [n_low, n_high] = range_of(r.points, &FitPoint::parameters);
  const auto [d_low, d_high] = range_of(r.points, &FitPoint::tokens);
  std::string text = fmt::format(
      "# A loss law fitted by espalier plan fit; another input reads it with\n"
      "#   [loss_law]\n"
      "#   file = \"loss_law.toml\"\n"
      "#\n"
      "# Points:    {} of N from {} to {} and D from {} to {}: {}\n"
      "# Intervals: {} of {} resamples\n"
      "[loss_law]\n"
      "name = {}\n",
      r.points.size(), short_count(n_low), short_count(n_high), short_count(d_low),
      short_count(d_high), made_of, per_cent(r), r.fit.resampled.size(),
      config::toml_value(fmt::format("fitted to {} points ({})", r.points.size(), made_of)));
  for (const Quantity& constant : constants())
    text += fmt::format("{} = {}  # {}\n", constant.key, config::toml_value(constant.of(r.fit.law)),
                        shown_interval(interval_of(r.fit, constant.of), constant.shown));
  return text + fmt::format("counts = {}\n", config::toml_value(r.what_n_counts));
}

}  // namespace espalier::plan
