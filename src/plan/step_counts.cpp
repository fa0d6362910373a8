#include "plan/step_counts.hpp"

#include <algorithm>
#include <span>
#include <vector>

#include "base/integers.hpp"
#include "base/text.hpp"
#include "config/grid.hpp"
#include "plan/counted_rank.hpp"
#include "train/step/programs.hpp"
#include "train/step/step.hpp"

namespace espalier::plan {

double StepCounts::flops() const {
  double sum = 0.0;
  for (const auto& [operation, cost] : operations) sum += cost.flops;
  return sum;
}

double StepCounts::bytes() const {
  double sum = 0.0;
  for (const auto& [operation, cost] : operations) sum += cost.bytes;
  return sum;
}

std::int64_t StepCounts::sent_bytes() const {
  std::int64_t sum = 0;
  for (const auto& [group, costs] : collectives)
    for (const auto& [collective, cost] : costs) sum += cost.sent_bytes;
  return sum;
}

std::int64_t few_micro_batches(const config::Parameters& p, const parallel::GridShape& shape) {
  const std::int64_t all = train::num_micro_batches(p, shape);
  for (std::int64_t few = std::min<std::int64_t>(2, all); few < all; ++few) {
    const pipeline::ScheduleKind kind = pipeline::schedule_from_name(p.parallel.schedule);
    const pipeline::PipelineShape pipeline{.ranks = shape.pipeline,
                                           .micro_batches = narrow<int>(few),
                                           .chunks = config::num_chunks(p.parallel)};
    if (shape.pipeline == 1 || pipeline::misfit_of(kind, pipeline).none()) return few;
  }
  return all;
}

std::vector<int> shown_micro_batches(std::span<const pipeline::Action> actions,
                                     const pipeline::Placement& placement) {
  std::vector<int> shown(static_cast<std::size_t>(placement.chunks), -1);
  for (const bool divided : {true, false})
    for (const bool later : {true, false})
      for (const pipeline::Action& a : actions) {
        const bool fits = divided ? a.kind == pipeline::ActionKind::backward_inputs
                                  : a.kind == pipeline::ActionKind::backward;
        int& micro = shown[static_cast<std::size_t>(placement.chunk_of(a.stage))];
        if (micro < 0 && fits && (a.micro_batch > 0) == later) micro = a.micro_batch;
      }
  return shown;
}

StepCounts count_step(const config::Parameters& p, const parallel::ProcessGrid& grid,
                      device::Backend backend, int compute_capability) {
  CountedRank rank(p, grid, backend, compute_capability);
  rank.take_step();
  return rank.so_far();
}

void add(StepCounts& sum, const StepCounts& counts, std::int64_t factor) {
  for (const auto& [operation, cost] : counts.operations) {
    device::PhaseCost& to = sum.operations[operation];
    to.flops += static_cast<double>(factor) * cost.flops;
    to.bytes += static_cast<double>(factor) * cost.bytes;
    to.calls += factor * cost.calls;
  }
  for (const auto& [group, costs] : counts.collectives)
    for (const auto& [collective, cost] : costs) {
      parallel::CollectiveCost& to = sum.collectives[group][collective];
      to.calls += factor * cost.calls;
      to.bytes += factor * cost.bytes;
      to.sent_bytes += factor * cost.sent_bytes;
    }
}

StepCounts difference(const StepCounts& counts, const StepCounts& other) {
  StepCounts result = counts;
  add(result, other, -1);
  return result;
}

void drop_empty(StepCounts& counts) {
  const auto is_empty = [](const auto& entry) { return entry.second == decltype(entry.second){}; };
  std::erase_if(counts.operations, is_empty);
  for (auto& [group, costs] : counts.collectives) std::erase_if(costs, is_empty);
  std::erase_if(counts.collectives, [](const auto& entry) { return entry.second.empty(); });
}

RankCounts count_rank(const config::Parameters& parameters, const parallel::ProcessGrid& grid,
                      device::Backend backend, int compute_capability) {
  config::Parameters p = parameters;
  p.training.global_batch_size =
      few_micro_batches(parameters, grid.shape()) * p.training.micro_batch_size * grid.shape().data;
  CountedRank rank(p, grid, backend, compute_capability);
  const train::StepModel model = rank.step_model();
  const std::int64_t counted = rank.batches().num_micro_batches;
  RankCounts result;
  result.chunks.resize(rank.memory.activations->chunks.size());
  const pipeline::Schedule schedule = train::training_schedule(p, grid.shape());
  const std::vector<int> shown = shown_micro_batches(
      schedule.actions[static_cast<std::size_t>(grid.pipeline_rank())], model.part.placement);
  train::play(rank.context, model.part, [&](const pipeline::Step& step) {
    const pipeline::Action& a = step.action;
    const auto chunk = static_cast<std::size_t>(model.part.placement.chunk_of(a.stage));
    const bool stands_for_all = a.micro_batch == std::min<std::int64_t>(1, counted - 1);
    if (!stands_for_all && a.micro_batch != shown[chunk]) return rank.take_pass(model, step);
    const StepCounts before = rank.so_far();
    rank.take_pass(model, step);
    const StepCounts pass = difference(rank.so_far(), before);
    if (stands_for_all) add(result.micro_batch, pass, 1);
    if (a.micro_batch != shown[chunk]) return;
    PassCounts& of_chunk = result.chunks[chunk];
    StepCounts& to = is_forward(a)              ? of_chunk.forward
                     : makes_input_gradients(a) ? of_chunk.inputs
                                                : of_chunk.weights;
    to = pass;
    drop_empty(to);
  });
  // What is left of a step: its messages are the micro-batches', too.
  result.once = count_step(p, grid, backend, compute_capability);
  if (const auto messages = result.once.collectives.find("pipeline");
      messages != result.once.collectives.end()) {
    parallel::CollectiveCost each = messages->second.begin()->second;
    each.calls /= counted;
    each.bytes /= counted;
    each.sent_bytes /= counted;
    parallel::CollectiveCosts& of_micro_batch = result.micro_batch.collectives["pipeline"];
    of_micro_batch.clear();
    of_micro_batch["messages"] = each;
  }
  add(result.once, result.micro_batch, -counted);
  drop_empty(result.once);
  drop_empty(result.micro_batch);
  return result;
}

StepCounts RankCounts::at(std::int64_t micro_batches) const {
  StepCounts sum = once;
  add(sum, micro_batch, micro_batches);
  drop_empty(sum);
  return sum;
}

std::string describe(const StepCounts& counts) {
  struct Row {
    std::string name;
    device::PhaseCost cost;
  };
  std::vector<Row> rows;
  for (const auto& [operation, cost] : counts.operations) {
    std::string name(operation.name);
    if (operation.m > 0)
      name += fmt::format(" ({}, {}) ({}, {})", operation.m, operation.k, operation.k, operation.n);
    rows.push_back({std::move(name), cost});
  }
  std::stable_sort(rows.begin(), rows.end(), [](const Row& a, const Row& b) {
    return std::pair(a.cost.flops, a.cost.bytes) > std::pair(b.cost.flops, b.cost.bytes);
  });
  std::string text =
      fmt::format("{:<52} {:>7} {:>10} {:>12}\n", "operation", "calls", "GFLOP", "memory");
  for (const Row& row : rows)
    text += fmt::format("{:<52} {:>7} {:>10.3f} {:>12}\n", row.name, row.cost.calls,
                        row.cost.flops * 1e-9, human_bytes(row.cost.bytes));
  text += fmt::format("{:<52} {:>7} {:>10.3f} {:>12}\n", "all", "", counts.flops() * 1e-9,
                      human_bytes(counts.bytes()));
  for (const auto& [group, costs] : counts.collectives)
    for (const auto& [collective, cost] : costs)
      text +=
          fmt::format("{:<52} {:>7} {:>10} {:>12}\n", fmt::format("{} over {}", collective, group),
                      cost.calls, "sent", human_bytes(static_cast<double>(cost.sent_bytes)));
  return text;
}

}  // namespace espalier::plan
