#include "parallel/layout/grid.hpp"

#include <algorithm>
#include <catch2/catch.hpp>
#include <sstream>

#include "base/error.hpp"

using espalier::Error;
using espalier::parallel::GridShape;
using espalier::parallel::ProcessGrid;

TEST_CASE("coordinates count tensor, context, data, pipeline, fastest first") {
  const GridShape shape{.tensor = 3, .context = 2, .data = 4, .pipeline = 2};
  REQUIRE(shape.size() == 48);
  int rank = 0;
  for (int p = 0; p < 2; ++p)
    for (int d = 0; d < 4; ++d)
      for (int c = 0; c < 2; ++c)
        for (int t = 0; t < 3; ++t, ++rank) {
          const ProcessGrid grid(shape, rank);
          REQUIRE(grid.rank() == rank);
          REQUIRE(grid.tensor_rank() == t);
          REQUIRE(grid.context_rank() == c);
          REQUIRE(grid.data_rank() == d);
          REQUIRE(grid.pipeline_rank() == p);
        }
}

TEST_CASE("a grid without such a rank is refused") {
  REQUIRE_THROWS_AS(ProcessGrid({.tensor = 2, .data = 2}, 4), Error);
  REQUIRE_THROWS_AS(ProcessGrid({.tensor = 2, .data = 2}, -1), Error);
  REQUIRE_THROWS_AS(ProcessGrid({.tensor = 0, .data = 2}, 0), Error);
}

TEST_CASE("a grid describes itself") {
  REQUIRE(ProcessGrid({.tensor = 2, .data = 4}, 0).describe() == "tensor 2 x data 4 = 8 ranks");
  REQUIRE(ProcessGrid({}, 0).describe() == "tensor 1 x data 1 = 1 rank");
  REQUIRE(ProcessGrid({.tensor = 2, .context = 2, .data = 1, .pipeline = 3}, 0).describe() ==
          "tensor 2 x context 2 x data 1 x pipeline 3 = 12 ranks");
}

TEST_CASE("the picture is a lattice of ranks") {
  REQUIRE(ProcessGrid({.tensor = 2, .data = 3}, 0).picture() ==
          "  tensor      0     1\n"
          "              |     |\n"
          "  data 0 -----0-----1--\n"
          "              |     |\n"
          "  data 1 -----2-----3--\n"
          "              |     |\n"
          "  data 2 -----4-----5--\n");
}

TEST_CASE("the picture of a large grid is cut off and stays narrow") {
  const std::string picture = ProcessGrid({.tensor = 64, .data = 512}, 0).picture();
  REQUIRE(picture.find("...") != std::string::npos);
  REQUIRE(picture.find("32767--") != std::string::npos);
  REQUIRE(std::count(picture.begin(), picture.end(), '\n') <= 34);
  std::istringstream lines(picture);
  for (std::string line; std::getline(lines, line);) REQUIRE(line.size() <= 100);
}
