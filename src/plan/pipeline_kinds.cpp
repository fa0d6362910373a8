#include "plan/pipeline_kinds.hpp"

#include <algorithm>
#include <array>
#include <numeric>

#include "train/step/programs.hpp"

namespace espalier::plan {
namespace {

struct Rank {
  std::string kind;
  std::array<int, 5> buffers;
  bool covers(const Rank& other) const {
    return kind == other.kind && std::equal(buffers.begin(), buffers.end(), other.buffers.begin(),
                                            [](int a, int b) { return a >= b; });
  }
};

}  // namespace

std::string kind_of_rank(const model::Architecture& architecture,
                         const model::StageAssignment& assignment, int pipeline_rank) {
  std::string kind;
  for (const model::StageExtent& extent : assignment.of_rank(pipeline_rank)) {
    const model::StageExtent stage = extent.of(architecture.num_layers);
    kind += stage.has_embedding ? "e" : "";
    for (std::int64_t i = 0; i < stage.num_layers; ++i)
      kind += architecture.is_sparse(stage.first + i) ? "s" : "d";
    kind += stage.has_head ? "h|" : "|";
  }
  return kind;
}

std::vector<int> largest_of_each_kind(const config::Parameters& parameters,
                                      const parallel::GridShape& shape) {
  if (shape.pipeline == 1) return {0};
  if (parameters.memory.recompute == "budget") {  // blocks of one kind recompute differently
    std::vector<int> all(static_cast<std::size_t>(shape.pipeline));
    std::iota(all.begin(), all.end(), 0);
    return all;
  }
  const model::Architecture architecture = model::Architecture::from(parameters.model);
  const model::StageAssignment assignment = model::assign_stages(architecture, parameters);
  std::vector<Rank> ranks;
  for (int r = 0; r < shape.pipeline; ++r) {
    const pipeline::Buffers b =
        train::training_program(parameters, {shape, parallel::rank_at(shape, {.pipeline = r})})
            .buffers;
    ranks.push_back({kind_of_rank(architecture, assignment, r),
                     {b.slots, b.weight_slots, b.received, b.sent, b.local}});
  }
  std::vector<int> largest;
  for (std::size_t r = 0; r < ranks.size(); ++r) {
    bool is_covered = false;
    for (std::size_t other = 0; other < ranks.size() && !is_covered; ++other)
      is_covered = other != r && ranks[other].covers(ranks[r]) &&
                   (other < r || !ranks[r].covers(ranks[other]));
    if (!is_covered) largest.push_back(static_cast<int>(r));
  }
  return largest;
}

}  // namespace espalier::plan
