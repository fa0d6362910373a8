// The time of a step on GPUs. Every operator runs at its roofline (gpu_rates.hpp), one after the
// other; every collective takes alpha + bytes / beta (collective_time.hpp). What is hidden:
//
//   gradients  summed bucket by bucket beside the backward pass of the last micro-batch; the last
//              bucket's sum has nothing left beside it
//   weights    gathered beside the next step's first forward pass, whose first bucket waits
//   experts    nothing: rows are sent to experts and back before a block goes on
//   context    keys and values of all heads but the first that are gathered at a time, and the sums
//              of the gradients of all but the last, beside attention as far as it lasts
//   tensor     nothing; with parallel.overlap_tensor all but one of n parts of a message, beside
//              the products, as far as those last (parallel/boundary.hpp)
//
// A collective that runs beside the computation takes multiprocessors from it: of a hidden second
// communication_multiprocessors / multiprocessors are exposed.
#include <algorithm>

#include "config/experts.hpp"
#include "config/grid.hpp"
#include "model/activations.hpp"
#include "plan/time/attention_pairs.hpp"
#include "plan/time/collective_time.hpp"
#include "plan/time/counted_step.hpp"
#include "plan/time/gpu_rates.hpp"
#include "plan/time/models.hpp"
#include "plan/time/overlap.hpp"

namespace espalier::plan {
namespace {

bool is_of_update(std::string_view operation) {
  return operation == "adamw" || operation == "sums_of_squares";
}

/// Rows that each expert gets of a micro-batch, from all ranks that share the experts, if all get
/// as many.
double rows_of_expert(const config::Parameters& p) {
  if (!config::has_experts(p.model)) return 0.0;
  const std::int64_t tokens =
      p.training.micro_batch_size * p.training.sequence_length / p.parallel.context;
  const bool splits = p.parallel.sequence_parallel && p.parallel.tensor > 1;
  const double tokens_here =
      static_cast<double>(tokens) / static_cast<double>(splits ? p.parallel.tensor : 1);
  return tokens_here * static_cast<double>(p.parallel.expert * p.model.num_experts_per_tok) /
         static_cast<double>(p.model.num_experts);
}

}  // namespace

Exposure exposure(double seconds, double window, double parts) {
  const double exposed =
      std::min(seconds, std::max(seconds - window, seconds / std::max(parts, 1.0)));
  return {.exposed = exposed, .hidden = seconds - exposed};
}

double forward_share(const std::string& recompute) {
  const double again = recompute == "full" ? 1.0 : recompute == "mlp" ? 0.5 : 0.0;
  return 1.0 / (3.0 + again);
}

double key_parts(const config::Parameters& p) {
  if (p.parallel.context == 1) return 1.0;
  const auto sizes =
      model::LocalSizes::of(model::Architecture::from(p.model), config::process_grid(p, 0));
  model::ActivationShape shape{};
  shape.micro_batch_size = p.training.micro_batch_size;
  shape.sequence_length = p.training.sequence_length;
  shape.context_size = static_cast<int>(p.parallel.context);
  shape.training = shape.on_gpu = true;
  shape.kv_heads_at_a_time = p.parallel.context_kv_heads;
  const std::int64_t heads =
      model::kv_heads_at_a_time(sizes, shape, dtype_from_name(p.training.dtype));
  return static_cast<double>(sizes.num_kv_heads / heads);
}

StepTime gpu_step_time(const StepCounts& counts, const config::Parameters& p,
                       const config::HardwareParameters& h) {
  const GpuRates rates(h, p.training.dtype);
  const model::Architecture architecture = model::Architecture::from(p.model);
  const auto length = static_cast<double>(p.training.sequence_length);
  const double document = document_length(p);
  OperatorTimes all = rates.times(counts.operations, document,
                                  static_cast<double>(architecture.head_dim), rows_of_expert(p));
  // Whole sequences were counted.
  all.attention *= attention_pairs(1.0, length, document) / attention_pairs(1.0, length, length);
  StepTime time{
      .products = all.products, .attention = all.attention, .memory_bound = all.memory_bound};

  double update = 0.0;
  for (const auto& [operation, cost] : counts.operations)
    if (is_of_update(operation.name))
      update += rates.memory_bound(cost.bytes) + static_cast<double>(cost.calls) * rates.overhead();
  const double micro_batch =
      (all.sum() - update) / static_cast<double>(std::max<std::int64_t>(num_micro_batches(p), 1));
  const double forward = forward_share(p.memory.recompute) * micro_batch;
  const double backward = micro_batch - forward;
  const double buckets =
      static_cast<double>(p.model.num_hidden_layers) / static_cast<double>(p.parallel.pipeline) +
      2.0;
  const double taken =
      std::min(1.0, static_cast<double>(h.communication_multiprocessors) / rates.multiprocessors());

  double gradients = 0.0, weights = 0.0, tensor = 0.0, tensor_in_parts = 0.0, keys = 0.0;
  for (const auto& [group, costs] : counts.collectives) {
    if (group == "pipeline") continue;  // pipeline_time.hpp
    const GroupPlace place = place_of_group(group, p, h);
    for (const auto& [collective, cost] : costs) {
      auto calls = static_cast<double>(cost.calls);
      const bool of_gradients = group != "world" && !group.starts_with("tensor (") &&
                                group != "tensor" && group != "context" && group != "expert" &&
                                group != "tied";
      // A run sums and gathers bucket by bucket where it hides that; the count has one call.
      if (of_gradients && p.parallel.overlap_data) calls = std::max(calls, buckets);
      const double seconds =
          collective_seconds(collective, static_cast<double>(cost.bytes), calls, place, h);
      if (group == "world")
        time.other += seconds;
      else if (group == "tensor")
        tensor += seconds;
      else if (group == "context")
        keys += seconds;
      else if (group == "expert")
        time.expert_exposed += seconds;
      else if (group == "tied")
        time.data_exposed += seconds;
      else if (!of_gradients)
        tensor_in_parts += seconds;
      else if (collective == "all_gather")
        weights += seconds;
      else
        gradients += seconds;
    }
  }

  const Exposure of_tensor =
      exposure(tensor_in_parts, all.products, static_cast<double>(p.parallel.tensor));
  const Exposure of_keys = exposure(keys, all.attention, key_parts(p));
  time.context_hidden = of_keys.hidden;
  time.context_exposed = of_keys.exposed + taken * of_keys.hidden;
  time.tensor_hidden = of_tensor.hidden;
  time.tensor_exposed = tensor + of_tensor.exposed + taken * of_tensor.hidden;
  if (p.parallel.overlap_data) {
    const Exposure sums = exposure(gradients, backward, buckets);
    const Exposure gathers = exposure(weights, forward, buckets);
    time.data_hidden = sums.hidden + gathers.hidden;
    time.data_exposed += sums.exposed + gathers.exposed + taken * time.data_hidden;
  } else {
    time.data_exposed += gradients + weights;
  }
  return time;
}

}  // namespace espalier::plan
