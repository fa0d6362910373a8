#include "optim/optimizer.hpp"

#include <algorithm>
#include <numeric>

#include "base/integers.hpp"
#include "kernels/adamw.hpp"
#include "kernels/elementwise.hpp"

namespace espalier::optim {

using device::Phase;
using device::View;
using parallel::Communicator;
using parallel::LocalTensor;
using parallel::OwnedShard;
using parallel::RowShards;

namespace {

/// Buckets whose weights are asked for before the one that is waited for is used, beside a tensor
/// group.
constexpr std::size_t kGatherAhead = 1;

int count_buckets(const std::vector<LocalTensor>& tensors) {
  int count = 0;
  for (const LocalTensor& tensor : tensors) {
    ESPALIER_ASSERT(tensor.bucket >= 0, "{}: bucket {}", tensor.spec->name, tensor.bucket);
    count = std::max(count, tensor.bucket + 1);
  }
  return count;
}

std::vector<parallel::Span> spans_of(const std::vector<LocalTensor>& tensors) {
  std::vector<parallel::Span> spans;
  for (const LocalTensor& tensor : tensors) spans.push_back(tensor.spec->gradient_span);
  return spans;
}

View rows_of(const View& view, const OwnedShard& shard) {
  return view.row_range(shard.row_begin, shard.row_end - shard.row_begin);
}

}  // namespace

Optimizer::Optimizer(std::vector<LocalTensor> tensors, const parallel::ProcessGrid& grid,
                     int zero_stage, device::Arena& arena)
    : tensors_(std::move(tensors)),
      partition_(tensors_, grid, zero_stage),
      tensor_square_sums_(tensors_.size()),
      num_tensor_(grid.shape().tensor),
      num_buckets_(count_buckets(tensors_)),
      spans_(parallel::distinct_groups(grid, spans_of(tensors_))),
      buckets_(static_cast<std::size_t>(num_buckets_), ShardsBySpan(spans_.size())),
      all_(spans_.size()) {
  for (const OwnedShard& shard : partition_.shards()) {
    const auto& spec = *tensors_[static_cast<std::size_t>(shard.tensor)].spec;
    const std::int64_t rows = shard.rectangle.rows();
    const std::int64_t cols = shard.rectangle.cols();
    StateShard state{.shard = shard, .master = {}, .m = {}, .v = {}};
    state.master = arena.allocate("master " + spec.name, DType::f32, rows, cols);
    state.m = arena.allocate("moment 1 " + spec.name, DType::f32, rows, cols);
    state.v = arena.allocate("moment 2 " + spec.name, DType::f32, rows, cols);
    state_.push_back(state);
  }
  square_sums_ = arena.allocate("gradient square sums", DType::f64,
                                static_cast<std::int64_t>(state_.size()), 1);

  for (std::size_t i = 0; i < tensors_.size(); ++i) {
    const LocalTensor& tensor = tensors_[i];
    const auto span =
        std::find(spans_.begin(), spans_.end(), grid.simplest(tensor.spec->gradient_span));
    if (span == spans_.end()) continue;  // this rank alone has it
    const auto begins = partition_.begins(static_cast<std::int64_t>(i));
    const auto group = static_cast<std::size_t>(span - spans_.begin());
    for (ShardsBySpan* shards : {&buckets_[static_cast<std::size_t>(tensor.bucket)], &all_}) {
      (*shards)[group].gradients.push_back({tensor.gradient, begins});
      (*shards)[group].weights.push_back({tensor.weight, begins});
    }
  }
}

void Optimizer::reduce_bucket(device::Context& context, parallel::GridCommunicators& comm,
                              int bucket) {
  ESPALIER_ASSERT(0 <= bucket && bucket < num_buckets_, "bucket {} of {}", bucket, num_buckets_);
  const auto scope = context.profiler().scope(Phase::gradient_communication);
  if (spans_.empty()) return;
  const ShardsBySpan& shards = buckets_[static_cast<std::size_t>(bucket)];
  context.fork_communication();
  for (std::size_t i = 0; i < spans_.size(); ++i) {
    Communicator& group = *comm.gradients.at(spans_[i]);
    group.reduce_scatter_shards(shards[i].gradients);
    // An all-reduce sums every element once, so that all ranks get the same bits.
    if (partition_.zero_stage() == 0) group.all_gather_shards(shards[i].gradients);
  }
  if (!overlap_) context.join_communication();
}

void Optimizer::wait_for_gradients(device::Context& context) {
  context.join_communication();
}

// At stage 0 every rank has all gradients of what it holds, yet takes only the rows it would own at
// stage 1: the work is shared, and the norm has the same bits at both stages.
std::span<const double> Optimizer::square_sums(device::Context& context) {
  wait_for_gradients(context);
  const auto scope = context.profiler().scope(Phase::clipping);
  gradients_.clear();
  for (const StateShard& state : state_) {
    const OwnedShard& shard = state.shard;
    if (!shard.writes) continue;
    const View& gradient = tensors_[static_cast<std::size_t>(shard.tensor)].gradient;
    const std::int64_t first =
        shard.row_begin + shard.written.row_begin - shard.rectangle.row_begin;
    gradients_.push_back(gradient.row_range(first, shard.written.rows()));
  }
  const auto count = static_cast<std::int64_t>(gradients_.size());
  kernels::sums_of_squares(context, square_sums_.row_range(0, count), gradients_);
  const std::vector<double> sums = context.download<double>(square_sums_.row_range(0, count));
  std::fill(tensor_square_sums_.begin(), tensor_square_sums_.end(), 0.0);
  auto next = sums.begin();
  for (const StateShard& state : state_)
    if (state.shard.writes)
      tensor_square_sums_[static_cast<std::size_t>(state.shard.tensor)] = *next++;
  return tensor_square_sums_;
}

void Optimizer::update(device::Context& context, const config::OptimizerParameters& parameters,
                       const Update& update,
                       const std::function<void(std::int64_t)>& before_overwrite) {
  const auto scope = context.profiler().scope(Phase::optimizer);
  enqueue_gathers(context, gathering_.order.size());  // of buckets that no pass has used
  gathered_.wait_for_all(context);
  // A GPU takes many shards in one launch; the host gains nothing by that, and shard by shard the
  // checkpoint writer is waited for as late as possible.
  const std::size_t at_once = context.on_host() ? 1 : 64;
  rectangles_.clear();
  for (std::size_t i = 0; i < state_.size(); ++i) {
    const StateShard& state = state_[i];
    const LocalTensor& tensor = tensors_[static_cast<std::size_t>(state.shard.tensor)];
    if (before_overwrite) before_overwrite(static_cast<std::int64_t>(i));
    rectangles_.push_back({.gradient = rows_of(tensor.gradient, state.shard),
                           .master = state.master,
                           .m = state.m,
                           .v = state.v,
                           .weight = rows_of(tensor.weight, state.shard),
                           .learning_rate = static_cast<float>(update.learning_rate),
                           .beta1 = static_cast<float>(parameters.beta1),
                           .beta2 = static_cast<float>(parameters.beta2),
                           .eps = static_cast<float>(parameters.eps),
                           .weight_decay = tensor.spec->weight_decay
                                               ? static_cast<float>(parameters.weight_decay)
                                               : 0.0F,
                           .gradient_scale = static_cast<float>(update.gradient_scale),
                           .step = update.step});
    if (rectangles_.size() < at_once && i + 1 < state_.size()) continue;
    kernels::adamw(context, rectangles_);
    rectangles_.clear();
  }
}

void Optimizer::gather_weights(device::Context& context, parallel::GridCommunicators& comm) {
  const auto scope = context.profiler().scope(Phase::weight_communication);
  if (partition_.zero_stage() == 0 || spans_.empty()) return;
  context.fork_communication();
  for (std::size_t i = 0; i < spans_.size(); ++i)
    comm.gradients.at(spans_[i])->all_gather_shards(all_[i].weights);
  context.join_communication();
}

void Optimizer::begin_gather_weights(device::Context& context, parallel::GridCommunicators& comm,
                                     std::span<const int> order) {
  if (context.on_host() || !overlap_) return gather_weights(context, comm);
  if (partition_.zero_stage() == 0 || spans_.empty()) return;
  ESPALIER_ASSERT(std::ssize(order) == num_buckets_, "an order of {} of {} buckets", order.size(),
                  num_buckets_);
  const auto scope = context.profiler().scope(Phase::weight_communication);
  context.fork_communication();
  gathering_.comm = &comm;
  gathering_.order.assign(order.begin(), order.end());
  gathering_.next = 0;
  enqueue_gathers(context, num_tensor_ > 1 ? 1 + kGatherAhead : order.size());
}

void Optimizer::enqueue_gathers(device::Context& context, std::size_t end) {
  for (end = std::min(end, gathering_.order.size()); gathering_.next < end; ++gathering_.next) {
    const int bucket = gathering_.order[gathering_.next];
    const ShardsBySpan& shards = buckets_[static_cast<std::size_t>(bucket)];
    for (std::size_t i = 0; i < spans_.size(); ++i)
      gathering_.comm->gradients.at(spans_[i])->all_gather_shards(shards[i].weights);
    gathered_.record(context, bucket, num_buckets_);
  }
}

void Optimizer::wait_for_weights(device::Context& context, int bucket) {
  if (gathering_.next < gathering_.order.size()) {
    const auto place = std::find(gathering_.order.begin(), gathering_.order.end(), bucket);
    const auto scope = context.profiler().scope(Phase::weight_communication);
    enqueue_gathers(context,
                    static_cast<std::size_t>(place - gathering_.order.begin()) + 1 + kGatherAhead);
  }
  gathered_.wait(context, bucket);
}

void Optimizer::weights_from_master(device::Context& context) {
  const auto scope = context.profiler().scope(Phase::optimizer);
  for (const StateShard& state : state_) {
    const LocalTensor& tensor = tensors_[static_cast<std::size_t>(state.shard.tensor)];
    kernels::cast(context, rows_of(tensor.weight, state.shard), state.master);
  }
}

std::int64_t Optimizer::staging_bytes() const {
  const auto bytes = [](std::span<const RowShards> tensors) {
    std::int64_t sum = 0;
    for (const RowShards& tensor : tensors) sum += round_up(tensor.full.size_bytes(), 64);
    return sum;
  };
  std::int64_t all = 0;
  for (std::size_t i = 0; i < spans_.size(); ++i) {
    std::int64_t largest = 0;
    for (const ShardsBySpan& bucket : buckets_)
      largest = std::max(largest, bytes(bucket[i].gradients));
    // The first gather, of the initial weights, is one group.
    if (partition_.zero_stage() == 1) largest = std::max(largest, bytes(all_[i].weights));
    all += largest;
  }
  return all;
}

double squared_norm(std::span<const double> square_sums) {
  return std::accumulate(square_sums.begin(), square_sums.end(), 0.0);
}

double clip_scale(double norm, double max_norm) {
  return max_norm == 0.0 || norm <= max_norm ? 1.0 : max_norm / norm;
}

}  // namespace espalier::optim
