#include "plan/scaling/fit_report.hpp"

#include <catch2/catch.hpp>
#include <nlohmann/json.hpp>

#include "config/parameters.hpp"
#include "io/toml_reader.hpp"
#include "loss_points.hpp"
#include "plan/scaling/csv.hpp"

using namespace espalier;
using Catch::Contains;
using report::Format;
using testing::kChinchilla;
using testing::kSizes;
using testing::kTokens;
using testing::points_by;

namespace {

struct Fitted {
  std::vector<plan::FitPoint> points = points_by(kChinchilla, kSizes, kTokens, 0.003);
  std::vector<plan::FitPoint> held_back = points_by(kChinchilla, {1.2e10}, {6e10}, 0.003, 5);
  std::vector<plan::FitPoint> asked = {
      {.name = "prediction", .parameters = 7e10, .tokens = 1.4e12, .loss = 0.0}};
  plan::LawFit fit = plan::fit_law(points, {.resamples = 40});
  plan::FitReport report(std::size_t rows = 10) const {
    return {.points = points,
            .held_back = held_back,
            .asked = asked,
            .fit = fit,
            .what_n_counts = "all",
            .rows = rows};
  }
};

}  // namespace

TEST_CASE("a fit is told in lines of 100 columns, the worst points first where not all fit") {
  const Fitted fitted;
  const std::string text = plan::print_fit(fitted.report(5), Format::text);
  for (const plan::CsvRow& line : plan::csv_rows(text)) CHECK(line.fields.size() < 100);
  std::size_t begin = 0;
  for (std::size_t end; (end = text.find('\n', begin)) != std::string::npos; begin = end + 1)
    CHECK(end - begin <= 100);
  CHECK_THAT(text, Contains("12 points") && Contains("alpha") && Contains("90 % interval"));
  CHECK_THAT(text, Contains("The 5 of 12 points") && Contains("prediction") && Contains("70.00B"));
  CHECK_THAT(plan::print_fit(fitted.report(0), Format::text), !Contains("of 12 points with"));
  CHECK_THAT(plan::print_fit(fitted.report(), Format::markdown), Contains("| alpha"));
}

TEST_CASE("CSV is one table with a kind for each row, JSON an object of lists") {
  const Fitted fitted;
  const auto rows = plan::csv_rows(plan::print_fit(fitted.report(), Format::csv));
  REQUIRE(rows.size() == 1 + 5 + 3 + 12 + 1 + 1);
  for (const plan::CsvRow& row : rows) CHECK(row.fields.size() == rows.front().fields.size());
  CHECK(rows[1].fields[0] == "constant");
  CHECK(rows[1].fields[1] == "e");
  CHECK(plan::csv_number(rows[1].fields[5]) == fitted.fit.law.e);
  CHECK(rows.back().fields[0] == "predicted");
  CHECK(rows.back().fields[4].empty());  // not measured

  const auto json = nlohmann::json::parse(plan::print_fit(fitted.report(), Format::json));
  CHECK(json["constants"].size() == 5);
  CHECK(json["constants"][2]["value"] == fitted.fit.law.alpha);
  CHECK(json["fitted"].size() == 12);
  CHECK(json["held_back"][0]["measured"] == fitted.held_back[0].loss);
  CHECK(json["predicted"][0]["measured"].is_null());
  CHECK(json["predicted"][0]["run_low"].get<double>() <
        json["predicted"][0]["value"].get<double>());
}

TEST_CASE("the law that is written reads back with all digits") {
  const Fitted fitted;
  config::Parameters p;
  io::read_parameters(plan::law_file(fitted.report(), "runs of \"a\" test"), "loss_law.toml", {},
                      p);
  CHECK(p.loss_law.e == fitted.fit.law.e);
  CHECK(p.loss_law.a == fitted.fit.law.a);
  CHECK(p.loss_law.alpha == fitted.fit.law.alpha);
  CHECK(p.loss_law.b == fitted.fit.law.b);
  CHECK(p.loss_law.beta == fitted.fit.law.beta);
  CHECK(p.loss_law.counts == "all");
  CHECK_THAT(p.loss_law.name, Contains("12 points"));
}

TEST_CASE("the picture has a curve for each of few sizes, else measured over fitted") {
  const Fitted fitted;
  const report::XyChart few = plan::fit_chart(fitted.report());
  CHECK(few.series.size() == 5 + 4 + 1);
  CHECK(few.x.logarithmic);
  Fitted many;
  many.points = points_by(kChinchilla, {1e7, 2e7, 3e7, 5e7, 1e8, 2e8, 3e8, 5e8, 1e9}, kTokens);
  many.fit = plan::fit_law(many.points, {.resamples = 0});
  const report::XyChart scatter = plan::fit_chart(many.report());
  REQUIRE(scatter.series.size() == 3);
  CHECK(scatter.series[0].points.size() == 27);
}

TEST_CASE("points that do not tell e from 0 are said to be so") {
  Fitted fitted;
  fitted.points = points_by({.e = 1e-9, .a = 20.0, .alpha = 0.1, .b = 20.0, .beta = 0.12}, kSizes,
                            kTokens, 0.003);
  fitted.fit = plan::fit_law(fitted.points, {.resamples = 40});
  CHECK_THAT(plan::print_fit(fitted.report(), Format::text), Contains("do not tell e from 0"));
}
