#include <catch2/catch.hpp>
#include <numeric>

#include "model/stage_assignment.hpp"
#include "model/tensor_table.hpp"
#include "support/architectures.hpp"

namespace espalier {
namespace {

using Layers = std::vector<std::int64_t>;
using model::stage_layers_by_cost;
using model::StageCosts;

/// Every way to give L blocks to so many stages.
void for_each_division(std::int64_t layers, int stages, Layers& division, auto&& body) {
  if (stages == 1) {
    division.push_back(layers);
    body(division);
    division.pop_back();
    return;
  }
  for (std::int64_t first = 0; first <= layers; ++first) {
    division.push_back(first);
    for_each_division(layers - first, stages - 1, division, body);
    division.pop_back();
  }
}

/// Largest cost of a stage, and the sum of their squares.
std::pair<double, double> measure(const StageCosts& costs, const Layers& division) {
  double largest = 0.0, squares = 0.0;
  std::size_t block = 0;
  for (std::size_t stage = 0; stage < division.size(); ++stage) {
    double sum = stage + 1 == division.size() ? costs.head : 0.0;
    for (std::int64_t i = 0; i < division[stage]; ++i) sum += costs.blocks[block++];
    largest = std::max(largest, sum);
    squares += sum * sum;
  }
  return {largest, squares};
}

}  // namespace

TEST_CASE("no division of the blocks has a cheaper dearest stage, nor is more even") {
  for (const double head : {0.0, 0.5, 3.0, 40.0})
    for (const int stages : {1, 2, 3, 4, 7})
      for (const std::int64_t layers : {0, 1, 3, 6}) {
        StageCosts costs{.blocks = {}, .head = head};
        for (std::int64_t i = 0; i < layers; ++i) costs.blocks.push_back(i % 3 == 2 ? 2.0 : 1.0);
        const Layers found = stage_layers_by_cost(costs, stages);
        CAPTURE(head, stages, layers, found);
        REQUIRE(std::ssize(found) == stages);
        REQUIRE(std::accumulate(found.begin(), found.end(), std::int64_t{0}) == layers);
        Layers division;
        for_each_division(layers, stages, division, [&](const Layers& other) {
          const auto mine = measure(costs, found), theirs = measure(costs, other);
          REQUIRE(mine.first <= theirs.first);
          if (mine.first == theirs.first) REQUIRE(mine.second <= theirs.second);
        });
      }
}

TEST_CASE("a dear head takes blocks from the last stage, and ties leave fewer to the first") {
  const StageCosts even{.blocks = std::vector<double>(8, 1.0), .head = 0.0};
  CHECK(stage_layers_by_cost(even, 4) == Layers{2, 2, 2, 2});
  CHECK(stage_layers_by_cost(even, 3) == Layers{2, 3, 3});
  CHECK(stage_layers_by_cost({.blocks = std::vector<double>(8, 1.0), .head = 2.0}, 2) ==
        Layers{5, 3});
  CHECK(stage_layers_by_cost({.blocks = std::vector<double>(4, 1.0), .head = 9.0}, 3) ==
        Layers{2, 2, 0});
  CHECK(stage_layers_by_cost({.blocks = {1.0, 1.0}, .head = 1.0}, 4) == Layers{0, 1, 1, 0});
}

TEST_CASE("a block costs its products and its attention, the head the vocabulary") {
  const model::Architecture a =
      testing::qwen3({.H = 8, .F = 32, .L = 2, .A = 4, .K = 2, .D = 4, .tied = false, .V = 100});
  const StageCosts costs = model::stage_costs(a, 16);
  REQUIRE(costs.blocks.size() == 2);
  CHECK(costs.blocks[0] == 2 * (8 * 4 * (4 + 2 + 2 + 4)) + 2 * 4 * 4 * 16 + 2 * 3 * 8 * 32);
  CHECK(costs.head == 2 * 100 * 8);
}

TEST_CASE("stages follow the placement, and each row of the table the stage of its block") {
  using Shape = pipeline::Placement::Shape;
  for (const bool tied : {false, true}) {
    model::Architecture a =
        testing::qwen3({.H = 8, .F = 32, .L = 4, .A = 4, .K = 2, .D = 4, .tied = tied, .V = 100});
    for (const Shape shape : {Shape::loop, Shape::v}) {
      const model::StageAssignment stages =
          model::assign_stages({.shape = shape, .ranks = 2, .chunks = 2}, Layers{1, 0, 2, 1});
      const int head = shape == Shape::v ? 0 : 1;
      CHECK(stages.rank_of_embedding() == 0);
      CHECK(stages.rank_of_head() == head);
      CHECK(stages.of_rank(0)[0] == model::StageExtent{0, 1, true, false});
      CHECK(stages.of_rank(1 - head)[1] == model::StageExtent{1, 2, false, false});
      CHECK(stages.of_rank(head)[1] == model::StageExtent{3, 1, false, true});
      std::vector<parallel::TensorSpec> table = model::tensor_table(a);
      model::place_on_stages(table, stages, tied);
      for (const parallel::TensorSpec& spec : table) {
        INFO(spec.name);
        const int of_layer[] = {0, 1 - head, 1 - head, head};
        if (spec.layer >= 0) CHECK(spec.pipeline_rank == of_layer[spec.layer]);
        if (spec.role == parallel::WeightRole::final_norm) CHECK(spec.pipeline_rank == head);
        const bool on_two = tied && head == 1 && spec.role == parallel::WeightRole::embedding;
        CHECK(spec.tied_pipeline_rank == (on_two ? 1 : -1));
      }
    }
  }
}

TEST_CASE("the picture names what each rank has, and leaves out the middle of many") {
  const std::string text =
      model::assign_stages({.shape = pipeline::Placement::Shape::v, .ranks = 2, .chunks = 2},
                           Layers{3, 1, 0, 2})
          .picture();
  CHECK(text.find("pipeline 0   embedding, blocks 0 to 2; blocks 4 to 5, LM head") !=
        std::string::npos);
  CHECK(text.find("pipeline 1   block 3; nothing") != std::string::npos);
  const std::string many = model::assign_stages({.ranks = 64}, Layers(64, 1)).picture();
  CHECK(std::count(many.begin(), many.end(), '\n') == 17);
  CHECK(many.find("pipeline 63  block 63, LM head") != std::string::npos);
}

}  // namespace espalier
