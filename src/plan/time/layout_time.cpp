#include "plan/time/layout_time.hpp"

#include <algorithm>

#include "base/error.hpp"
#include "model/architecture.hpp"
#include "plan/time/collective_time.hpp"
#include "plan/time/counted_step.hpp"
#include "plan/time/gpu_rates.hpp"
#include "plan/time/overlap.hpp"

namespace espalier::plan {
namespace {

bool is_of_update(std::string_view operation) {
  return operation == "adamw" || operation == "sums_of_squares";
}
bool is_forward_product(const device::Operation& operation) {
  return operation.m > 0 && operation.name == "gemm forward";
}

void check(const config::Parameters& p, const StepLayout& l) {
  const auto refuse = [&](const std::string& what) {
    throw Error(ExitStatus::bad_configuration, "this layout cannot be: " + what,
                Met::by_every_rank);
  };
  if (p.training.sequence_length % l.context != 0)
    refuse(
        fmt::format("{} positions over {} context ranks", p.training.sequence_length, l.context));
  if (p.training.global_batch_size % (p.training.micro_batch_size * l.data) != 0)
    refuse(fmt::format("{} sequences a step in micro-batches of {} on {} data ranks",
                       p.training.global_batch_size, p.training.micro_batch_size, l.data));
  if (l.pipeline > 1 && p.model.num_hidden_layers % (l.pipeline * l.virtual_stages) != 0 &&
      (p.model.num_hidden_layers + 2) % (l.pipeline * l.virtual_stages) != 0)
    refuse(fmt::format("{} blocks in {} chunks", p.model.num_hidden_layers,
                       l.pipeline * l.virtual_stages));
}

/// Operators and collectives of one micro-batch.
struct Part {
  OperatorTimes forward_and_backward;
  double recomputed = 0.0;  ///< beyond what was counted
  double casts = 0.0;       ///< to FP8
  double tensor = 0.0;      ///< collectives of the tensor group
  double compute() const { return forward_and_backward.sum() + recomputed + casts; }
};

class Layout {
 public:
  Layout(const config::Parameters& parameters, const StepLayout& layout,
         const config::HardwareParameters& hardware)
      : l_(layout),
        h_(hardware),
        rates_(hardware, parameters.training.dtype),
        length_(static_cast<double>(parameters.training.sequence_length)) {
    check(parameters, layout);
    p_ = parameters;
    p_.parallel.tensor = l_.tensor;
    p_.parallel.data = p_.parallel.context = 1;
    p_.parallel.overlap_tensor = false;
    p_.training.sequence_length /= l_.context;
    p_.memory.recompute = l_.recompute == "half" ? "selective" : l_.recompute;
    architecture_ = model::Architecture::from(p_.model);
    micro_batches_ = static_cast<double>(parameters.training.global_batch_size /
                                         (parameters.training.micro_batch_size * l_.data));
    counted_ = counted_step(p_, device::Backend::cuda, static_cast<int>(h_.compute_capability));
    tensor_place_ = place_of(static_cast<int>(l_.tensor), 1, h_);
    block_ = part(counted_.layer_micro_batch, true);
    head_ = part(counted_.micro_batch, false);
  }

  StepTime time() const;

 private:
  Part part(const StepCounts& counts, bool is_block) const;
  double context_exposed() const;
  void add_data(StepTime& time, double blocks, double window_forward, double window_backward) const;
  double weights_of_block() const {
    return static_cast<double>(architecture_.num_parameters_without_embedding()) /
           static_cast<double>(architecture_.num_layers * l_.tensor);
  }
  /// Embedding and head of the rank that has most of them.
  double weights_of_ends() const {
    const auto matrix = static_cast<double>(architecture_.vocab_size * architecture_.hidden_size);
    const bool both = l_.pipeline == 1 && !architecture_.tied;
    return (both ? 2.0 : 1.0) * matrix / static_cast<double>(l_.tensor);
  }

  StepLayout l_;
  config::HardwareParameters h_;
  GpuRates rates_;
  double length_;
  config::Parameters p_;
  model::Architecture architecture_;
  double micro_batches_ = 1.0;
  CountedStep counted_;
  GroupPlace tensor_place_;
  Part block_, head_;
};

Part Layout::part(const StepCounts& counts, bool is_block) const {
  Part result;
  OperatorTimes& t = result.forward_and_backward;
  for (const auto& [operation, cost] : counts.operations) {
    const auto calls = static_cast<double>(cost.calls);
    if (calls <= 0) continue;
    if (operation.m > 0) {
      const bool fp8 = is_block && l_.fp8;
      double bytes = cost.bytes / calls;
      const auto m = static_cast<double>(operation.m), n = static_cast<double>(operation.n),
                 k = static_cast<double>(operation.k);
      if (fp8) bytes -= m * k + k * n;  // operands of one byte
      const double seconds =
          calls * rates_.product(operation.m, operation.n, operation.k, bytes,
                                 fp8 ? GpuRates::Precision::fp8 : GpuRates::Precision::training);
      t.products += seconds;
      if (is_forward_product(operation)) {
        if (is_block && l_.recompute == "half") result.recomputed += 0.5 * seconds;
        // Of an input and of the gradient of an output: 2 bytes for the maximum, 2 to read, 2
        // written. Weights are cast once a step, or with the gather.
        if (fp8)
          result.casts +=
              calls * (rates_.memory_bound(6.0 * (m * k + m * n)) + 4.0 * rates_.overhead());
      }
    } else if (operation.name.starts_with("attention")) {
      const bool backward = operation.name.find("backward") != std::string_view::npos;
      t.attention += rates_.attention(backward, cost.flops * static_cast<double>(l_.context),
                                      length_ / static_cast<double>(l_.context),
                                      static_cast<double>(architecture_.head_dim)) +
                     calls * static_cast<double>(l_.context) * rates_.overhead();
    } else if (!is_of_update(operation.name)) {
      t.memory_bound += rates_.memory_bound(cost.bytes) + calls * rates_.overhead();
    }
  }
  for (const auto& [group, costs] : counts.collectives)
    if (group == "tensor")
      for (const auto& [collective, cost] : costs)
        result.tensor += collective_seconds(collective, static_cast<double>(cost.bytes),
                                            static_cast<double>(cost.calls), tensor_place_, h_);
  return result;
}

/// Of one block and micro-batch: keys and values pass round the context ranks beside attention.
double Layout::context_exposed() const {
  if (l_.context == 1) return 0.0;
  const auto c = static_cast<double>(l_.context);
  const double heads = std::max(
      1.0, static_cast<double>(architecture_.num_kv_heads) / static_cast<double>(l_.tensor));
  const double bytes = static_cast<double>(p_.training.micro_batch_size) * length_ * 2.0 * heads *
                       static_cast<double>(architecture_.head_dim) * 2.0;
  const GroupPlace place = place_of(static_cast<int>(l_.context), static_cast<int>(l_.tensor), h_);
  const double once = collective_seconds("all_gather", bytes, c - 1.0, place, h_);
  const double attention = block_.forward_and_backward.attention;
  return exposure(once, attention / 3.5, c).exposed +
         exposure(2.0 * once, attention * 2.5 / 3.5, c).exposed;
}

void Layout::add_data(StepTime& time, double blocks, double window_forward,
                      double window_backward) const {
  const auto ranks = static_cast<int>(l_.data * l_.context);
  if (ranks == 1) return;
  const auto stride = static_cast<int>(l_.tensor);
  const int shard = l_.shard > 0 ? static_cast<int>(l_.shard * l_.context) : ranks;
  const GroupPlace place = place_of(shard, stride, h_);
  const double weights = blocks * weights_of_block() + weights_of_ends();
  const auto g = static_cast<double>(l_.gradient_bytes);
  const double buckets = blocks + 2.0;
  const auto seconds = [&](std::string_view collective, double bytes, const GroupPlace& of) {
    return collective_seconds(collective, bytes, buckets, of, h_);
  };
  const double taken = std::min(
      1.0, static_cast<double>(h_.communication_multiprocessors) / rates_.multiprocessors());
  const auto spend = [&](double once, double window, double times) {
    const Exposure e = l_.overlap_data ? exposure(once, window, buckets)
                                       : Exposure{.exposed = once, .hidden = 0.0};
    time.data_exposed += times * (e.exposed + taken * e.hidden);
    time.data_hidden += times * e.hidden;
  };
  const double gather = seconds("all_gather", 2.0 * weights, place);
  const double scatter = seconds("reduce_scatter", g * weights, place);
  if (l_.zero_stage == 3) {
    // Stages of a pipeline gather once for all of a step's micro-batches (FSDP with pipeline).
    const double times = l_.pipeline > 1 ? 1.0 : micro_batches_;
    spend(gather, window_forward, times);
    spend((l_.reshard ? gather : 0.0) + scatter, window_backward, times);
  } else {
    if (l_.zero_stage == 0)
      spend(seconds("all_reduce", g * weights, place), window_backward, 1.0);
    else
      spend(scatter, window_backward, l_.zero_stage == 2 ? micro_batches_ : 1.0);
    if (l_.zero_stage > 0) spend(gather, window_forward, 1.0);
  }
  if (shard < ranks) {  // replicas of the shards
    const GroupPlace outer = place_of(ranks / shard, stride * shard, h_);
    spend(seconds("all_reduce", g * weights / shard, outer), window_backward, 1.0);
  }
}

StepTime Layout::time() const {
  const auto layers = static_cast<double>(architecture_.num_layers);
  const auto p = static_cast<double>(l_.pipeline);
  const bool ends_are_blocks =
      l_.pipeline > 1 && architecture_.num_layers % (l_.pipeline * l_.virtual_stages) != 0;
  // Blocks of the last pipeline rank, and of one in the middle.
  const double middle = ends_are_blocks ? (layers + 2.0) / p : layers / p;
  const double last = ends_are_blocks ? middle - 1.0 : middle;
  const double context = context_exposed();
  const auto of = [&](double blocks, bool head) {
    const double b = blocks, e = head ? 1.0 : 0.0;
    StepTime t;
    const OperatorTimes &x = block_.forward_and_backward, &y = head_.forward_and_backward;
    const double again = x.products > 0 ? block_.recomputed : 0.0;
    t.products = b * (x.products + again) + e * y.products;
    t.attention = b * x.attention;
    t.memory_bound = b * (x.memory_bound + block_.casts) + e * y.memory_bound;
    const double messages = b * block_.tensor + e * head_.tensor;
    if (l_.overlap_tensor) {
      const Exposure hidden = exposure(messages, t.products, static_cast<double>(l_.tensor));
      const double taken = std::min(
          1.0, static_cast<double>(h_.communication_multiprocessors) / rates_.multiprocessors());
      t.tensor_hidden = hidden.hidden;
      t.tensor_exposed = hidden.exposed + taken * hidden.hidden;
    } else {
      t.tensor_exposed = messages;
    }
    t.context_exposed = b * context;
    return t;
  };
  StepTime one = of(last, true);
  if (const StepTime other = of(middle, false); l_.pipeline > 1 && other.step() > one.step())
    one = other;
  const double micro_batch = one.step();
  StepTime time{.products = micro_batches_ * one.products,
                .attention = micro_batches_ * one.attention,
                .memory_bound = micro_batches_ * one.memory_bound,
                .tensor_exposed = micro_batches_ * one.tensor_exposed,
                .tensor_hidden = micro_batches_ * one.tensor_hidden,
                .context_exposed = micro_batches_ * one.context_exposed};
  if (l_.pipeline > 1) {
    const auto v = static_cast<double>(l_.virtual_stages);
    const double stream =
        static_cast<double>(p_.training.micro_batch_size * p_.training.sequence_length *
                            architecture_.hidden_size) *
        2.0 / static_cast<double>(l_.tensor);
    const double message =
        message_seconds(stream, static_cast<int>(l_.tensor * l_.context * l_.data), h_);
    time.bubble = (p - 1.0) / v * micro_batch + 2.0 * (p - 1.0) * message;
    // With one chunk a rank has nothing else to do while it waits for a neighbour.
    if (l_.virtual_stages == 1) time.bubble += 2.0 * micro_batches_ * message;
  }
  const double share = forward_share(l_.recompute == "half" ? "mlp" : l_.recompute);
  const double compute = one.products + one.attention + one.memory_bound;
  add_data(time, middle, share * compute, (1.0 - share) * compute);

  // The update of the states that a rank keeps, and the sums of norm and loss.
  double update = 0.0;
  for (const auto& [operation, cost] : counted_.layer.operations)
    if (is_of_update(operation.name)) update += middle * rates_.memory_bound(cost.bytes);
  for (const auto& [operation, cost] : counted_.once.operations)
    if (is_of_update(operation.name)) update += rates_.memory_bound(cost.bytes);
  const std::int64_t shards = l_.shard > 0 ? l_.shard * l_.context : l_.data * l_.context;
  time.memory_bound += l_.zero_stage > 0 ? update / static_cast<double>(shards) : update;
  const auto ranks = static_cast<int>(l_.ranks());
  time.other = collective_seconds("all_reduce of values", 0.0, 1.0, place_of(ranks, 1, h_), h_);
  return time;
}

}  // namespace

StepTime layout_time(const config::Parameters& parameters, const StepLayout& layout,
                     const config::HardwareParameters& hardware) {
  return Layout(parameters, layout, hardware).time();
}

}  // namespace espalier::plan
