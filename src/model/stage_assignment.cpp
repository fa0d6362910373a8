#include "model/stage_assignment.hpp"

#include <algorithm>
#include <limits>
#include <map>
#include <tuple>

#include "base/integers.hpp"
#include "config/grid.hpp"

namespace espalier::model {

std::vector<StageExtent> StageAssignment::of_rank(int pipeline_rank) const {
  std::vector<StageExtent> chunks;
  for (int chunk = 0; chunk < placement.chunks; ++chunk)
    chunks.push_back(stages[static_cast<std::size_t>(placement.stage_of(pipeline_rank, chunk))]);
  return chunks;
}

int StageAssignment::rank_of_layer(std::int64_t layer) const {
  for (std::size_t stage = 0; stage < stages.size(); ++stage)
    if (stages[stage].has_layer(layer)) return placement.rank_of(narrow<int>(stage));
  fail(ExitStatus::internal, "no stage has block {}", layer);
}

namespace {

std::string describe(const StageExtent& stage) {
  std::string text = stage.has_embedding ? "embedding" : "";
  const auto add = [&](const std::string& part) { text += (text.empty() ? "" : ", ") + part; };
  if (stage.num_layers == 1) add(fmt::format("block {}", stage.first));
  if (stage.num_layers > 1)
    add(fmt::format("blocks {} to {}", stage.first, stage.first + stage.num_layers - 1));
  if (stage.has_head) add("LM head");
  return text.empty() ? "nothing" : text;
}

}  // namespace

std::string StageAssignment::picture() const {
  constexpr int kFirst = 12, kLast = 4;
  std::string text;
  for (int rank = 0; rank < placement.ranks; ++rank) {
    if (placement.ranks > kFirst + kLast && rank == kFirst) {
      text += "  ...\n";
      rank = placement.ranks - kLast;
    }
    text += fmt::format("  pipeline {:<4}", rank);
    for (const StageExtent& stage : of_rank(rank))
      text += fmt::format("{}{}", text.back() == ' ' ? "" : "; ", describe(stage));
    text += "\n";
  }
  return text;
}

StageAssignment assign_stages(const pipeline::Placement& placement,
                              std::span<const std::int64_t> stage_layers) {
  ESPALIER_ASSERT(std::ssize(stage_layers) == placement.num_stages(), "blocks of {} stages for {}",
                  stage_layers.size(), placement.num_stages());
  StageAssignment assignment{.placement = placement, .stages = {}};
  std::int64_t first = 0;
  for (const std::int64_t layers : stage_layers) {
    assignment.stages.push_back({.first = first,
                                 .num_layers = layers,
                                 .has_embedding = assignment.stages.empty(),
                                 .has_head = false});
    first += layers;
  }
  assignment.stages.back().has_head = true;
  return assignment;
}

StageAssignment assign_stages(const Architecture& a, const config::Parameters& p) {
  const int ranks = narrow<int>(p.parallel.pipeline);
  if (ranks == 1) return assign_stages({}, std::vector<std::int64_t>{a.num_layers});
  const pipeline::ScheduleKind kind = pipeline::schedule_from_name(p.parallel.schedule);
  using Shape = pipeline::Placement::Shape;
  const pipeline::Placement placement{.shape = pipeline::is_v_shaped(kind) ? Shape::v : Shape::loop,
                                      .ranks = ranks,
                                      .chunks = config::num_chunks(p.parallel)};
  if (!p.parallel.stage_layers.empty()) return assign_stages(placement, p.parallel.stage_layers);
  return assign_stages(placement, stage_layers_by_cost(stage_costs(a, p.training.sequence_length),
                                                       placement.num_stages()));
}

StageCosts stage_costs(const Architecture& a, std::int64_t sequence_length) {
  // Two FLOPs for each weight that a token meets; scores and values of causal attention, 2 A D S.
  const std::int64_t attention =
      2 * a.hidden_size * a.head_dim * (2 * a.num_heads + 2 * a.num_kv_heads) +
      2 * a.num_heads * a.head_dim * sequence_length;
  const std::int64_t matrices = a.mlp == Mlp::swiglu ? 3 : 2;
  const std::int64_t dense = 2 * matrices * a.hidden_size * a.intermediate;
  const std::int64_t sparse =
      2 * a.hidden_size *
      (a.num_experts + matrices * a.num_experts_per_token * a.expert_intermediate);
  StageCosts costs{.blocks = {}, .head = static_cast<double>(2 * a.vocab_size * a.hidden_size)};
  for (std::int64_t layer = 0; layer < a.num_layers; ++layer)
    costs.blocks.push_back(static_cast<double>(attention + (a.is_sparse(layer) ? sparse : dense)));
  return costs;
}

namespace {

/// Divides blocks into stages: the best that the first stages can make of the first blocks, from
/// the best of one stage less.
class Division {
 public:
  Division(const StageCosts& costs, int num_stages) : num_stages_(num_stages), before_{0.0} {
    // In units of the most expensive block, so that sums of equal blocks are exact.
    double unit = costs.head;
    if (!costs.blocks.empty()) unit = *std::max_element(costs.blocks.begin(), costs.blocks.end());
    head_ = costs.head / unit;
    for (const double cost : costs.blocks) before_.push_back(before_.back() + cost / unit);
  }

  /// The cost of the most expensive stage, as small as it can be.
  double least_bound() const {
    const auto worst = [](double so_far, double stage) { return std::max(so_far, stage); };
    return divide(worst, kImpossible).value;
  }
  /// The most alike stages of which none costs more than `bound`.
  std::vector<std::int64_t> within(double bound) const {
    return divide([](double sum, double stage) { return sum + stage * stage; }, bound).layers;
  }

 private:
  static constexpr double kImpossible = std::numeric_limits<double>::infinity();
  struct Best {
    double value;
    std::vector<std::int64_t> layers;
  };

  /// Of several that are as good the one that gives least to the first stages.
  template <class Join>
  Best divide(Join&& join, double bound) const {
    const std::size_t blocks = before_.size() - 1;
    std::vector<double> best(blocks + 1, kImpossible);  // by the blocks that are given away
    best[0] = 0.0;
    std::vector<std::vector<std::size_t>> begins;  // of each stage, by its end
    for (int stage = 0; stage < num_stages_; ++stage) {
      std::vector<double> next(blocks + 1, kImpossible);
      std::vector<std::size_t>& begin_of = begins.emplace_back(blocks + 1);
      for (std::size_t end = 0; end <= blocks; ++end)
        for (std::size_t begin = 0; begin <= end; ++begin) {
          const double cost =
              before_[end] - before_[begin] + (stage + 1 == num_stages_ ? head_ : 0.0);
          if (cost > bound || best[begin] == kImpossible) continue;
          const double value = join(best[begin], cost);
          if (value >= next[end]) continue;
          next[end] = value;
          begin_of[end] = begin;
        }
      best = std::move(next);
    }
    Best found{.value = best[blocks], .layers = {}};
    std::size_t end = blocks;
    for (auto begin_of = begins.rbegin(); begin_of != begins.rend(); ++begin_of) {
      found.layers.push_back(static_cast<std::int64_t>(end - (*begin_of)[end]));
      end = (*begin_of)[end];
    }
    std::reverse(found.layers.begin(), found.layers.end());
    return found;
  }

  int num_stages_;
  double head_ = 0.0;
  std::vector<double> before_;  ///< (L + 1) cost of the blocks before each
};

}  // namespace

std::vector<std::int64_t> stage_layers_by_cost(const StageCosts& costs, int num_stages) {
  ESPALIER_ASSERT(num_stages > 0, "{} stages", num_stages);
  // A search over grids asks for few divisions, each thousands of times.
  using Asked = std::tuple<int, double, std::vector<double>>;
  constexpr std::size_t kMostKept = 64;
  thread_local std::map<Asked, std::vector<std::int64_t>> known;
  if (known.size() >= kMostKept) known.clear();
  const auto [layers, is_new] = known.try_emplace(Asked(num_stages, costs.head, costs.blocks));
  if (is_new) {
    const Division division(costs, num_stages);
    layers->second = division.within(division.least_bound());
  }
  return layers->second;
}

void place_on_stages(std::vector<parallel::TensorSpec>& table, const StageAssignment& assignment,
                     bool tied) {
  using parallel::WeightRole;
  for (parallel::TensorSpec& spec : table) {
    const bool before_blocks =
        spec.role == WeightRole::embedding || spec.role == WeightRole::position_embedding;
    spec.pipeline_rank = spec.layer >= 0 ? assignment.rank_of_layer(spec.layer)
                         : before_blocks ? assignment.rank_of_embedding()
                                         : assignment.rank_of_head();
    if (spec.role == WeightRole::embedding && tied &&
        assignment.rank_of_head() != assignment.rank_of_embedding())
      spec.tied_pipeline_rank = assignment.rank_of_head();
  }
}

}  // namespace espalier::model
