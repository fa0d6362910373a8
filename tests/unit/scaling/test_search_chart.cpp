// What the picture of a search shows.
#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>

#include "plan/scaling/search_chart.hpp"
#include "plan/scaling/search_space.hpp"

using namespace espalier;

namespace {

plan::SearchSpace space() {
  config::Parameters p;
  p.model.model_type = "llama";
  p.model.vocab_size = 128256;
  p.model.num_key_value_heads = 8;
  p.search.budget = 1.36e21;
  p.search.layers_min = 16;
  p.search.layers_max = 62;
  p.search.hidden_min = 1024;
  p.search.hidden_max = 7680;
  p.search.hidden_step = 512;
  return plan::space_of(p);
}

const report::Series& series_called(const report::XyChart& chart, const std::string& words) {
  const auto found = std::find_if(
      chart.series.begin(), chart.series.end(),
      [&](const report::Series& series) { return series.name.find(words) != std::string::npos; });
  REQUIRE(found != chart.series.end());
  return *found;
}

}  // namespace

TEST_CASE("the picture has lines of equal loss, the budget's curve and every candidate") {
  const plan::SearchSpace s = space();
  const plan::SearchResult result = plan::search(s);
  REQUIRE(result.candidates.size() > 3);
  const report::XyChart chart = plan::loss_chart(s, result, 2, "title");
  CHECK(chart.title == "title");
  CHECK(chart.x.logarithmic);
  CHECK(chart.y.logarithmic);

  const report::Contours& c = chart.contours;
  REQUIRE(c.values.size() == c.xs.size() * c.ys.size());
  CHECK(std::is_sorted(c.xs.begin(), c.xs.end()));
  CHECK(std::is_sorted(c.ys.begin(), c.ys.end()));
  CHECK(c.values[c.xs.size() + 3] == s.law.loss(c.xs[3], c.ys[1]));

  // On the curve lie shapes of the space, each with the tokens that it spends the budget on.
  for (const report::Point& point : series_called(chart, "cheapest").points) {
    bool is_shape = false;
    plan::visit_shapes(s, [&](const plan::Shape& shape) {
      is_shape = is_shape ||
                 (shape.law_parameters == point.x && s.budget / shape.flops_per_token == point.y);
    });
    CHECK(is_shape);
  }
  for (const report::Point& point : series_called(chart, "6 N D").points)
    CHECK(6.0 * point.x * point.y == Approx(s.budget));

  CHECK(series_called(chart, "candidates").points.size() == result.candidates.size() - 1);
  const report::Series& selected = series_called(chart, "selected");
  REQUIRE(selected.points.size() == 1);
  CHECK(selected.points[0].x == result.candidates[2].parameters);
  CHECK(selected.points[0].y == result.candidates[2].tokens);
  CHECK_THAT(selected.points[0].label,
             Catch::Contains(fmt::format("L {}", result.candidates[2].architecture.num_layers)));
  for (const char* name : {"candidates", "selected"}) {
    CHECK(series_called(chart, name).marked);
    CHECK_FALSE(series_called(chart, name).joined);
  }
}

TEST_CASE("a law of N without embeddings has that N in the picture") {
  plan::SearchSpace s = space();
  s.law_counts_embedding = false;
  const plan::SearchResult result = plan::search(s);
  const report::XyChart chart = plan::loss_chart(s, result, 0, "title");
  CHECK_THAT(chart.x.title, Catch::Contains("without embeddings"));
  CHECK(series_called(chart, "selected").points[0].x == result.candidates[0].law_parameters);
}

TEST_CASE("a search of one pair has a picture, too") {
  plan::SearchSpace s = space();
  s.layers = {20};
  s.hidden_sizes = {2048};
  s.head_dims = {128};
  s.tokens = {1.5e11};
  s.tolerance = 0.5;
  const plan::SearchResult result = plan::search(s);
  REQUIRE(result.candidates.size() == 1);
  const report::XyChart chart = plan::loss_chart(s, result, 0, "title");
  CHECK(chart.contours.ys.front() < chart.contours.ys.back());
  CHECK(chart.contours.xs.front() < chart.contours.xs.back());
  for (const double value : chart.contours.values) CHECK(std::isfinite(value));
}
