#include "parallel/layout/grid.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <set>
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

/// A digit of a rank: it counts the ranks of an axis, or of a part of one.
struct Digit {
  int stride, count;
  int of(int rank) const { return rank / stride % count; }
};

/// The digits in which the ranks of a group differ, the fastest first.
using Digits = std::vector<Digit>;

Digits digits_of(Span span, const GridShape& shape, const GridViews& views, int rank) {
  const int stage = shape.stage_size();
  const Digit tensor{1, shape.tensor};
  const Digit kv_replica{1, views.kv_replication};
  const Digit context{shape.tensor, shape.context};
  const Digit data{shape.tensor * shape.context, shape.data};
  const Digit pipeline{stage, shape.pipeline};
  switch (span) {
    case Span::self:
      return {};
    case Span::tensor:
      return {tensor};
    case Span::context:
      return {context};
    case Span::data:
      return {data};
    case Span::pipeline:
      return {pipeline};
    case Span::kv_replicas:
      return {kv_replica};
    case Span::tokens_shared:
      return {context, data};
    case Span::kv_tokens:
      return {kv_replica, context, data};
    case Span::tokens:
      return {tensor, context, data};
    case Span::expert:
      return {{1, views.expert}};
    case Span::expert_data:
      return {{views.expert, stage / views.expert}};
    case Span::tied: {
      const int at = pipeline.of(rank);
      if (shape.pipeline == 1 || (at != 0 && at != shape.pipeline - 1)) return {};
      return {{stage * (shape.pipeline - 1), 2}};
    }
    case Span::replicas:
      return {{data.stride * (data.count / views.replicas), views.replicas}};
    case Span::world:
      return {{1, shape.size()}};
  }
  fail(ExitStatus::internal, "an unknown span of ranks");
}

}  // namespace

ProcessGrid::ProcessGrid(GridShape shape, int rank, GridViews views)
    : shape_(shape), rank_(rank), views_(views) {
  ESPALIER_ASSERT(shape.tensor > 0 && shape.context > 0 && shape.data > 0 && shape.pipeline > 0,
                  "grid {} x {} x {} x {}", shape.tensor, shape.context, shape.data,
                  shape.pipeline);
  ESPALIER_ASSERT(0 <= rank && rank < shape.size(), "rank {} of {}", rank, shape.size());
  const auto divides = [](int part, int whole) { return part > 0 && whole % part == 0; };
  ESPALIER_ASSERT(divides(views.kv_replication, shape.tensor) &&
                      divides(views.expert, shape.stage_size()) &&
                      divides(views.replicas, shape.data),
                  "kv replication {}, expert {}, replicas {} on {}", views.kv_replication,
                  views.expert, views.replicas, describe());
}

int ProcessGrid::first_of(Span span) const {
  int first = rank_;
  for (const Digit& digit : digits_of(span, shape_, views_, rank_))
    first -= digit.stride * digit.of(rank_);
  return first;
}

int ProcessGrid::size_of(Span span) const {
  int size = 1;
  for (const Digit& digit : digits_of(span, shape_, views_, rank_)) size *= digit.count;
  return size;
}

int ProcessGrid::index_in(Span span) const {
  int index = 0;
  int before = 1;  // ranks that the digits so far tell apart
  for (const Digit& digit : digits_of(span, shape_, views_, rank_)) {
    index += before * digit.of(rank_);
    before *= digit.count;
  }
  return index;
}

// Strides ascend, and every digit adds more than the ones before it together: so do the ranks.
std::vector<int> ProcessGrid::group(Span span) const {
  std::vector<int> ranks{first_of(span)};
  for (const Digit& digit : digits_of(span, shape_, views_, rank_)) {
    const std::size_t before = ranks.size();
    for (int value = 1; value < digit.count; ++value)
      for (std::size_t i = 0; i < before; ++i) ranks.push_back(ranks[i] + digit.stride * value);
  }
  return ranks;
}

int ProcessGrid::block_of(Span span) const {
  if (span == Span::tokens) return shape_.tensor;
  return span == Span::kv_tokens ? views_.kv_replication : 1;
}

Span ProcessGrid::simplest(Span span) const {
  if (span == Span::expert_data) {
    if (views_.expert > 1) return span;
    span = Span::tokens;
  }
  // They contain one another: as many ranks are the same ranks.
  const int size = size_of(span);
  for (const Span smaller : {Span::tokens_shared, Span::kv_tokens})
    if (size_of(smaller) == size) return smaller;
  ESPALIER_ASSERT(span == Span::tokens, "span {} is none of gradients", static_cast<int>(span));
  return span;
}

int rank_at(const GridShape& shape, const GridPlace& place) {
  return place.tensor + shape.tensor * (place.context +
                                        shape.context * (place.data + shape.data * place.pipeline));
}

std::vector<int> corner_ranks(const GridShape& shape) {
  std::set<int> ranks;
  for (const int t : {0, shape.tensor - 1})
    for (const int c : {0, shape.context - 1})
      for (const int d : {0, shape.data - 1})
        for (int p = 0; p < shape.pipeline; ++p)
          ranks.insert(rank_at(shape, {.tensor = t, .context = c, .data = d, .pipeline = p}));
  return {ranks.begin(), ranks.end()};
}

// The data axis is drawn as branches, the tensor axis as stems: a lattice like an espalier's.
std::string ProcessGrid::picture() const {
  const auto columns = drawn_coordinates(shape_.tensor, kMaxColumns);
  const auto rows = drawn_coordinates(shape_.data, kMaxRows);
  const int width = static_cast<int>(std::to_string(size() - 1).size());
  const int cell = std::max(width, static_cast<int>(std::to_string(shape_.tensor - 1).size())) + 5;
  const int margin = static_cast<int>(std::to_string(shape_.data - 1).size()) + 8;

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
                        : fmt::format("{:->{}}", rank_at(shape_, {.tensor = t, .data = d}), cell);
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
