#include "plan/time/counted_step.hpp"

#include "base/integers.hpp"

namespace espalier::plan {
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
                                  .context = static_cast<int>(parameters.parallel.context),
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
