#include <algorithm>
#include <catch2/catch.hpp>
#include <cmath>

#include "../../support/expect_error.hpp"
#include "plan/estimate/compare.hpp"
#include "plan/estimate/planned_input.hpp"
#include "plan/flops.hpp"
#include "plan/scaling/step_law.hpp"
#include "planned_devices.hpp"

using namespace espalier;
using plan::ComparedProperty;
using plan::ComparedRun;

namespace {

std::vector<ComparedRun> two_runs() {
  config::Parameters other = testing::small_run();
  other.model.num_hidden_layers = 4;
  other.optimizer.learning_rate = 1e-3;
  return {{"small", testing::small_run()}, {"deeper", other}};
}

const ComparedProperty& row(const std::vector<ComparedProperty>& rows, const std::string& key) {
  const auto found = std::find_if(rows.begin(), rows.end(), [&](const ComparedProperty& property) {
    return property.column.key == key;
  });
  INFO(key);
  REQUIRE(found != rows.end());
  return *found;
}

bool has_row(const std::vector<ComparedProperty>& rows, const std::string& key) {
  return std::any_of(rows.begin(), rows.end(),
                     [&](const ComparedProperty& property) { return property.column.key == key; });
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    lines.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return lines;
}

void expect_error(std::initializer_list<const char*> words, const std::function<void()>& action) {
  testing::expect_words(testing::message_of(action), words);
}

}  // namespace

TEST_CASE("FLOPs by part add up to those of a token") {
  for (const std::string family : {"qwen3", "llama", "gpt2"}) {
    config::Parameters p = testing::small_run();
    p.model.model_type = family;
    if (family == "gpt2") {
      p.model.num_key_value_heads = 6;
      p.model.hidden_size = 384;
    }
    p = plan::resolved_without_grid(p, family);
    const auto a = model::Architecture::from(p.model);
    const plan::FlopsByPart parts = plan::flops_by_part(a, 256);
    const plan::FlopsPerToken all = plan::flops_per_token(a, 256);
    const double products = parts.projections + parts.mlp + parts.lm_head;
    CHECK(all.causal_attention == products + parts.causal_attention);
    CHECK(all.full_attention == products + parts.full_attention);
    const double width = static_cast<double>(a.hidden_size);
    const double heads = static_cast<double>(a.num_heads * a.head_dim);
    const double pairs = static_cast<double>(a.num_kv_heads * a.head_dim);
    CHECK(parts.projections == 6.0 * 3 * width * (2 * heads + 2 * pairs));
    CHECK(parts.mlp == 6.0 * 3 * width * 576 * (family == "gpt2" ? 2 : 3));
    CHECK(parts.lm_head == 6.0 * 1009 * width);
  }
}

TEST_CASE("Step Law's hints are those of its formula") {
  // 1.79 x 1e9^-0.713 x 1e11^0.307 and 0.58 x 1e11^0.571, by another program.
  const plan::StepLaw hint = plan::step_law(1e9, 1e11);
  CHECK(hint.learning_rate == Approx(1.6325e-3).epsilon(1e-4));
  CHECK(hint.batch_tokens == Approx(1.1077e6).epsilon(1e-4));
}

TEST_CASE("a comparison marks the rows in which its columns differ") {
  const auto runs = two_runs();
  const auto rows = plan::compared_properties(runs, {});
  CHECK(row(rows, "layers").differs());
  CHECK(row(rows, "parameters").differs());
  CHECK(row(rows, "learning_rate").differs());
  CHECK_FALSE(row(rows, "hidden_size").differs());
  CHECK_FALSE(row(rows, "tokens").differs());
  for (const std::string& line : lines_of(plan::print_comparison(runs, rows, report::Format::text)))
    if (line.find(" layers ") != std::string::npos) CHECK(line.starts_with("* layers"));
  const std::string markdown = plan::print_comparison(runs, rows, report::Format::markdown);
  CHECK(markdown.find("| **layers** | 3 | 4 |") != std::string::npos);
  CHECK(markdown.find("| hidden size | 192 | 192 |") != std::string::npos);
}

TEST_CASE("what a model without a length does not have is no row, and an empty cell beside a run") {
  config::Parameters model = testing::small_run();
  model.training.steps = 0;
  const auto alone = plan::compared_properties({{"model", model}}, {});
  for (const char* key : {"tokens", "expected_loss", "learning_rate", "step_law_learning_rate"})
    CHECK_FALSE(has_row(alone, key));
  const auto beside =
      plan::compared_properties({{"model", model}, {"run", testing::small_run()}}, {});
  const ComparedProperty& tokens = row(beside, "tokens");
  CHECK(std::isnan(tokens.cells[0].value));
  CHECK(tokens.cells[1].value == 1000.0 * 12 * 256);
  CHECK(tokens.differs());
}

TEST_CASE("text has as many columns side by side as a hundred characters hold") {
  std::vector<ComparedRun> runs;
  for (int i = 0; i < 9; ++i)
    runs.push_back({"a-run-with-a-long-name-" + std::to_string(i), testing::small_run()});
  const auto rows = plan::compared_properties(runs, {});
  const std::string text = plan::print_comparison(runs, rows, report::Format::text);
  int headings = 0;
  for (const std::string& line : lines_of(text)) {
    CHECK(line.size() <= 100);
    if (line.starts_with("* differs")) ++headings;
  }
  CHECK(headings == 3);  // three of them in a line
  for (const ComparedRun& run : runs) CHECK(text.find(run.name) != std::string::npos);
}

TEST_CASE("devices have rows for what a run needs on them, and a model no hours") {
  config::Parameters model = testing::small_run();
  model.training.steps = 0;
  std::vector<ComparedRun> runs = {{"model", model}, {"run", testing::small_run()}};
  for (ComparedRun& run : runs) run.parameters.plan.ranks = 2;
  const auto device = testing::device();
  const auto rows = plan::compared_properties(runs, {device, testing::device(0.5)});
  const plan::Layout best = plan::best_layout(runs[1].parameters, device, 2);
  CHECK(row(rows, "Test GPU_ranks").cells[0].value == 2.0);
  CHECK(row(rows, "Test GPU_memory_bytes").cells[1].value ==
        static_cast<double>(best.estimate.memory_bytes));
  CHECK(row(rows, "Test GPU_hours").cells[1].value == best.estimate.hours);
  CHECK(std::isnan(row(rows, "Test GPU_hours").cells[0].value));
  CHECK(row(rows, "Test GPU_tokens_per_second").cells[0].value ==
        row(rows, "Test GPU_tokens_per_second").cells[1].value);
}

TEST_CASE("without plan.ranks a run is on the grid that it has") {
  config::Parameters p = testing::small_run();
  p.parallel.data = 3;
  p.training.micro_batch_size = 2;
  const auto device = testing::device();
  const auto rows = plan::compared_properties({{"run", p}}, {device});
  config::resolve(p, 3, config::Use::planning);
  CHECK(row(rows, "Test GPU_ranks").cells[0].value == 3.0);
  CHECK(row(rows, "Test GPU_hours").cells[0].value == plan::estimate(p, device).hours);
}

TEST_CASE("layouts whose ranks share sequences say so, on the input's grid and on the fastest") {
  std::vector<ComparedRun> runs = two_runs();
  for (ComparedRun& run : runs) {
    run.parameters.training.sequence_length = 8192;
    run.parameters.training.global_batch_size = 1;
  }
  runs[1].parameters.parallel.context = 2;
  const auto text_of = [&] {
    return plan::print_comparison(runs, plan::compared_properties(runs, {testing::device()}),
                                  report::Format::text);
  };
  CHECK_THAT(text_of(), Catch::Contains("1 x 1, c 2, 1, none"));
  CHECK_THAT(text_of(), Catch::Contains("ranks, c: context ranks, sequences of"));
  runs[1].parameters.parallel.context = 1;
  CHECK_THAT(text_of(), !Catch::Contains(", c "));
  // One sequence, and no pipeline without a second.
  for (ComparedRun& run : runs) run.parameters.plan.ranks = 2;
  runs[0].parameters.model.num_attention_heads = runs[0].parameters.model.num_key_value_heads = 1;
  CHECK_THAT(text_of(), Catch::Contains("1 x 1, c 2, 1, none"));
}

TEST_CASE("a comparison that cannot be says which run is wrong") {
  auto runs = two_runs();
  runs[1].parameters.model.num_key_value_heads = 4;
  expect_error({"deeper", "model.num_key_value_heads = 4"},
               [&] { plan::compared_properties(runs, {}); });
  runs = two_runs();
  runs[0].parameters.model = {};
  expect_error({"small", "no model", "model.file"}, [&] { plan::compared_properties(runs, {}); });
  runs[0].parameters.model.initial_weights = "weights";
  expect_error({"small", "model.initial_weights", "model.file"},
               [&] { plan::compared_properties(runs, {}); });
  runs = two_runs();
  runs[1].parameters.plan.ranks = 7;
  expect_error({"deeper on Test GPU", "7 ranks"},
               [&] { plan::compared_properties(runs, {testing::device()}); });
}
