#include "parallel/grid.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <vector>

#include "base/error.hpp"

namespace espalier::parallel {
namespace {

constexpr int kMaxColumns = 8;
constexpr int kMaxRows = 16;
constexpr int kCut = -1;  ///< stands for the coordinates that are not drawn

/// 0 .. count-1, or the first ones, a cut and the last.
std::vector<int> drawn_coordinates(int count, int most) {
  std::vector<int> drawn;
  for (int i = 0; i < std::min(count, most); ++i) drawn.push_back(i);
  if (count > most) {
    drawn[static_cast<std::size_t>(most) - 2] = kCut;
    drawn.back() = count - 1;
  }
  return drawn;
}

}  // namespace

ProcessGrid::ProcessGrid(GridShape shape, int rank) : shape_(shape), rank_(rank) {
  ESPALIER_ASSERT(shape.tensor > 0 && shape.context > 0 && shape.data > 0 && shape.pipeline > 0,
                  "grid {} x {} x {} x {}", shape.tensor, shape.context, shape.data,
                  shape.pipeline);
  ESPALIER_ASSERT(0 <= rank && rank < shape.size(), "rank {} of {}", rank, shape.size());
}

// The data axis is drawn as branches, the tensor axis as stems: a lattice like an espalier's.
std::string ProcessGrid::picture() const {
  const auto columns = drawn_coordinates(shape_.tensor, kMaxColumns);
  const auto rows = drawn_coordinates(shape_.data, kMaxRows);
  const int width = static_cast<int>(std::to_string(size() - 1).size());
  const int cell = std::max(width, static_cast<int>(std::to_string(shape_.tensor - 1).size())) + 5;
  const int margin = static_cast<int>(std::to_string(shape_.data - 1).size()) + 8;
  const int stride = shape_.tensor * shape_.context;

  std::string heads = fmt::format("  {:<{}}", "tensor", margin - 2);
  std::string stems(static_cast<std::size_t>(margin), ' ');
  for (int t : columns) {
    heads += t == kCut ? fmt::format("{:>{}}", "...", cell) : fmt::format("{:>{}}", t, cell);
    stems += fmt::format("{:>{}}", t == kCut ? ' ' : '|', cell);
  }
  std::string text = heads + "\n" + stems + "\n";
  for (int d : rows) {
    if (d == kCut) {
      text += fmt::format("{:>{}} ", "...", margin - 1);
      for (int t : columns) text += fmt::format("{:>{}}", t == kCut ? ' ' : ':', cell);
      text += "\n";
      continue;
    }
    text += fmt::format("  data {:>{}} ", d, margin - 8);
    for (int t : columns) {
      text += t == kCut ? fmt::format("{:->{}}", " ... ", cell)
                        : fmt::format("{:->{}}", t + stride * d, cell);
    }
    text += "--\n";
    if (d != rows.back()) text += stems + "\n";
  }
  if (shape_.context > 1 || shape_.pipeline > 1)
    text += fmt::format("  (context 0, pipeline 0 of {} x {})\n", shape_.context, shape_.pipeline);
  return text;
}

std::string ProcessGrid::describe() const {
  std::string text = fmt::format("tensor {}", shape_.tensor);
  if (shape_.context > 1) text += fmt::format(" x context {}", shape_.context);
  text += fmt::format(" x data {}", shape_.data);
  if (shape_.pipeline > 1) text += fmt::format(" x pipeline {}", shape_.pipeline);
  return text + fmt::format(" = {} rank{}", size(), size() == 1 ? "" : "s");
}

}  // namespace espalier::parallel
