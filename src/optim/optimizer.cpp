#include "optim/optimizer.hpp"

#include <algorithm>

#include "base/integers.hpp"
#include "kernels/adamw.hpp"
#include "kernels/elementwise.hpp"

namespace espalier::optim {

using device::Phase;
using device::View;
using parallel::Communicator;
using parallel::GradientSum;
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

/// A grouped all-reduce: every element is summed once, so all ranks get the same bits.
void all_reduce_shards(Communicator& group, std::span<const RowShards> tensors) {
  group.reduce_scatter_shards(tensors);
  group.all_gather_shards(tensors);
}

View rows_of(const View& view, const OwnedShard& shard) {
  return view.row_range(shard.row_begin, shard.row_end - shard.row_begin);
}

}  // namespace

Optimizer::Optimizer(std::vector<LocalTensor> tensors, const parallel::ProcessGrid& grid,
                     int zero_stage, bool sequence_parallel, device::Arena& arena)
    : tensors_(std::move(tensors)),
      partition_(tensors_, grid, zero_stage),
      num_tensor_(grid.shape().tensor),
      num_data_(grid.shape().data),
      sequence_parallel_(sequence_parallel),
      num_buckets_(count_buckets(tensors_)),
      buckets_(static_cast<std::size_t>(num_buckets_)) {
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
    Bucket& bucket = buckets_[static_cast<std::size_t>(tensor.bucket)];
    const auto& begins = partition_.begins(static_cast<std::int64_t>(i));
    bucket.gradients.push_back({tensor.gradient, begins});
    bucket.weights.push_back({tensor.weight, begins});
    weights_.push_back({tensor.weight, begins});

    const auto divided_over = [&](int ranks) {
      return RowShards{tensor.gradient, parallel::data_row_begins(begins.back(), ranks)};
    };
    switch (tensor.spec->gradient_sum) {
      case GradientSum::none:
        break;
      case GradientSum::sequence_parallel:
        if (sequence_parallel_) bucket.tensor_sums.push_back(divided_over(num_tensor_));
        break;
      case GradientSum::tensor:
        bucket.tensor_sums.push_back(divided_over(num_tensor_));
        break;
      case GradientSum::kv_replicas: {
        const int replication = parallel::kv_replication(tensor.spec->num_kv_heads, num_tensor_);
        if (replication > 1) bucket.kv_sums.push_back(divided_over(replication));
        break;
      }
    }
  }
}

// The tensor axis first: only then does every replica of a weight hold the whole gradient of its
// data rank, and the sums over the data axis of all replicas have the same terms in the same order.
void Optimizer::reduce_bucket(device::Context& context, parallel::GridCommunicators& comm,
                              int bucket) {
  ESPALIER_ASSERT(0 <= bucket && bucket < num_buckets_, "bucket {} of {}", bucket, num_buckets_);
  const Bucket& group = buckets_[static_cast<std::size_t>(bucket)];
  {
    const auto scope = context.profiler().scope(Phase::tensor_communication);
    all_reduce_shards(*comm.tensor, group.tensor_sums);
    all_reduce_shards(*comm.kv_replicas, group.kv_sums);
  }
  const auto scope = context.profiler().scope(Phase::gradient_communication);
  if (comm.data->size() == 1) return;
  context.fork_communication();
  comm.data->reduce_scatter_shards(group.gradients);
  if (partition_.zero_stage() == 0) comm.data->all_gather_shards(group.gradients);
  if (!overlap_) context.join_communication();
}

void Optimizer::wait_for_gradients(device::Context& context) {
  context.join_communication();
}

// At stage 0 every data rank has all gradients, yet takes only the rows it would own at stage 1:
// the work is shared, and the norm has the same bits at both stages.
double Optimizer::square_sum(device::Context& context) {
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
  double sum = 0.0;
  for (const double square_sum : context.download<double>(square_sums_.row_range(0, count)))
    sum += square_sum;
  return sum;
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
  if (partition_.zero_stage() == 0 || comm.data->size() == 1) return;
  context.fork_communication();
  comm.data->all_gather_shards(weights_);
  context.join_communication();
}

void Optimizer::begin_gather_weights(device::Context& context, parallel::GridCommunicators& comm,
                                     std::span<const int> order) {
  if (context.on_host() || !overlap_) return gather_weights(context, comm);
  if (partition_.zero_stage() == 0 || comm.data->size() == 1) return;
  ESPALIER_ASSERT(std::ssize(order) == num_buckets_, "an order of {} of {} buckets", order.size(),
                  num_buckets_);
  const auto scope = context.profiler().scope(Phase::weight_communication);
  context.fork_communication();
  gathering_.data = comm.data.get();
  gathering_.order.assign(order.begin(), order.end());
  gathering_.next = 0;
  enqueue_gathers(context, num_tensor_ > 1 ? 1 + kGatherAhead : order.size());
}

void Optimizer::enqueue_gathers(device::Context& context, std::size_t end) {
  for (end = std::min(end, gathering_.order.size()); gathering_.next < end; ++gathering_.next) {
    const int bucket = gathering_.order[gathering_.next];
    gathering_.data->all_gather_shards(buckets_[static_cast<std::size_t>(bucket)].weights);
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

Optimizer::LargestGroups Optimizer::largest_groups() const {
  const auto bytes = [](std::span<const RowShards> tensors) {
    std::int64_t sum = 0;
    for (const RowShards& tensor : tensors) sum += round_up(tensor.full.size_bytes(), 64);
    return sum;
  };
  LargestGroups largest{0, 0, 0};
  for (const Bucket& bucket : buckets_) {
    largest.tensor = std::max(largest.tensor, bytes(bucket.tensor_sums));
    largest.kv_replicas = std::max(largest.kv_replicas, bytes(bucket.kv_sums));
    largest.data = std::max(largest.data, bytes(bucket.gradients));
  }
  // The first gather, of the initial weights, is one group.
  if (partition_.zero_stage() == 1) largest.data = std::max(largest.data, bytes(weights_));
  if (num_tensor_ == 1) largest.tensor = 0;
  if (num_data_ == 1) largest.data = 0;
  return largest;
}

double clip_scale(double norm, double max_norm) {
  return max_norm == 0.0 || norm <= max_norm ? 1.0 : max_norm / norm;
}

}  // namespace espalier::optim
