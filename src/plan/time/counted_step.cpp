#include "plan/time/counted_step.hpp"

#include "base/integers.hpp"

namespace espalier::plan {
namespace {

void add(device::PhaseCost& sum, const device::PhaseCost& cost, std::int64_t factor) {
  sum.flops += static_cast<double>(factor) * cost.flops;
  sum.bytes += static_cast<double>(factor) * cost.bytes;
  sum.calls += factor * cost.calls;
}

void add(parallel::CollectiveCost& sum, const parallel::CollectiveCost& cost, std::int64_t factor) {
  sum.calls += factor * cost.calls;
  sum.bytes += factor * cost.bytes;
  sum.sent_bytes += factor * cost.sent_bytes;
}

void add(StepCounts& sum, const StepCounts& counts, std::int64_t factor) {
  for (const auto& [operation, cost] : counts.operations)
    add(sum.operations[operation], cost, factor);
  for (const auto& [group, costs] : counts.collectives)
    for (const auto& [collective, cost] : costs)
      add(sum.collectives[group][collective], cost, factor);
}

StepCounts difference(const StepCounts& counts, const StepCounts& other) {
  StepCounts result = counts;
  add(result, other, -1);
  return result;
}

/// What nothing is done of. A term of the sum may have bytes and no calls: what the first
/// micro-batch does not add to.
void drop_empty(StepCounts& counts) {
  const auto is_empty = [](const auto& entry) { return entry.second == decltype(entry.second){}; };
  std::erase_if(counts.operations, is_empty);
  for (auto& [group, costs] : counts.collectives) std::erase_if(costs, is_empty);
  std::erase_if(counts.collectives, [](const auto& entry) { return entry.second.empty(); });
}

}  // namespace

StepCounts CountedStep::at(std::int64_t layers, std::int64_t micro_batches) const {
  StepCounts sum = once;
  add(sum, layer, layers);
  add(sum, micro_batch, micro_batches);
  add(sum, layer_micro_batch, layers * micro_batches);
  drop_empty(sum);
  return sum;
}

CountedStep counted_step(const config::Parameters& parameters, device::Backend backend,
                         int compute_capability) {
  const parallel::GridShape shape{.tensor = static_cast<int>(parameters.parallel.tensor),
                                  .data = static_cast<int>(parameters.parallel.data)};
  const auto count = [&](std::int64_t layers, std::int64_t micro_batches) {
    config::Parameters p = parameters;
    p.model.num_hidden_layers = layers;
    p.training.global_batch_size = p.training.micro_batch_size * p.parallel.data * micro_batches;
    return count_step(p, {shape, 0}, backend, compute_capability);
  };
  // From two blocks on every further one is alike; the first and the last are among the two.
  const StepCounts c21 = count(2, 1), c22 = count(2, 2), c31 = count(3, 1), c32 = count(3, 2);
  CountedStep result;
  result.layer_micro_batch = difference(difference(c32, c31), difference(c22, c21));
  result.layer = difference(difference(c31, c21), result.layer_micro_batch);
  result.micro_batch = difference(c22, c21);
  add(result.micro_batch, result.layer_micro_batch, -2);
  result.once = c21;
  add(result.once, result.layer, -2);
  add(result.once, result.micro_batch, -1);
  add(result.once, result.layer_micro_batch, -2);
  for (StepCounts* counts :
       {&result.once, &result.layer, &result.micro_batch, &result.layer_micro_batch})
    drop_empty(*counts);
  return result;
}

std::int64_t num_micro_batches(const config::Parameters& p) {
  return div_exact(p.training.global_batch_size, p.training.micro_batch_size * p.parallel.data);
}

}  // namespace espalier::plan
