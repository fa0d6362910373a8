#include "parallel/parameter_store.hpp"

#include <algorithm>
#include <numeric>

#include "base/error.hpp"
#include "base/integers.hpp"

namespace espalier::parallel {

using device::Phase;

namespace {

/// Buckets whose weights are asked for before the one that is acquired, where passes communicate.
constexpr std::size_t kGatherAhead = 1;

/// Whether a pass needs messages of its own: of the tensor, context or expert group, or of a
/// pipeline.
bool has_messages_in_passes(const ProcessGrid& grid) {
  const GridShape& shape = grid.shape();
  return shape.tensor > 1 || shape.context > 1 || shape.pipeline > 1 || grid.views().expert > 1;
}

int count_buckets(const std::vector<LocalTensor>& tensors) {
  int count = 0;
  for (const LocalTensor& tensor : tensors) {
    ESPALIER_ASSERT(tensor.bucket >= LocalTensor::kElsewhere, "{}: bucket {}", tensor.spec->name,
                    tensor.bucket);
    count = std::max(count, tensor.bucket + 1);
  }
  return count;
}

/// Of all stages' tensors, so that every rank makes the same communicators.
std::vector<Span> spans_of(const std::vector<LocalTensor>& tensors) {
  std::vector<Span> spans;
  for (const LocalTensor& tensor : tensors) spans.push_back(tensor.spec->gradient_span);
  return spans;
}

}  // namespace

ParameterStore::ParameterStore(std::vector<LocalTensor> tensors, const ProcessGrid& grid,
                               int zero_stage)
    : tensors_(std::move(tensors)),
      partition_(tensors_, grid, zero_stage),
      has_messages_in_passes_(has_messages_in_passes(grid)),
      num_buckets_(count_buckets(tensors_)),
      spans_(distinct_groups(grid, spans_of(tensors_))),
      asked_spans_(spans_),
      buckets_(static_cast<std::size_t>(num_buckets_), ShardsBySpan(spans_.size())),
      all_(spans_.size()),
      num_users_(static_cast<std::size_t>(num_buckets_)),
      gather_order_(num_users_.size()),
      next_gather_(gather_order_.size()) {
  const auto is_tied = [](const LocalTensor& t) { return t.spec->tied_pipeline_rank >= 0; };
  if (std::any_of(tensors_.begin(), tensors_.end(), is_tied)) asked_spans_.push_back(Span::tied);
  std::iota(gather_order_.begin(), gather_order_.end(), 0);
  for (std::size_t i = 0; i < tensors_.size(); ++i) {
    const LocalTensor& tensor = tensors_[i];
    if (!tensor.is_here()) continue;
    if (tensor.spec->tied_pipeline_rank >= 0) tied_bucket_ = tensor.bucket;
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

Communicator& ParameterStore::group(std::size_t span) {
  ESPALIER_ASSERT(communicators_ != nullptr, "the parameters are connected to no communicators");
  return *communicators_->gradients.at(spans_[span]);
}

// --- Gradients. ---

void ParameterStore::accumulated(device::Context& context, int bucket, bool last) {
  ESPALIER_ASSERT(0 <= bucket && bucket < num_buckets_, "bucket {} of {}", bucket, num_buckets_);
  if (!last) return;
  if (bucket == tied_bucket_)
    is_tied_pending_ = true;
  else
    reduce(context, bucket);
}

void ParameterStore::reduce(device::Context& context, int bucket) {
  const auto scope = context.profiler().scope(Phase::gradient_communication);
  if (spans_.empty()) return;
  const ShardsBySpan& shards = buckets_[static_cast<std::size_t>(bucket)];
  context.fork_communication();
  for (std::size_t i = 0; i < spans_.size(); ++i) {
    group(i).reduce_scatter_shards(shards[i].gradients);
    // An all-reduce sums every element once, so that all ranks get the same bits.
    if (partition_.zero_stage() == 0) group(i).all_gather_shards(shards[i].gradients);
  }
  if (!overlap_) context.join_communication();
}

// Of two addends either order has the same bits.
void ParameterStore::add_tied_gradients(device::Context& context) {
  const auto scope = context.profiler().scope(Phase::gradient_communication);
  ESPALIER_ASSERT(communicators_ != nullptr && communicators_->tied != nullptr,
                  "a weight is tied to another rank's without a communicator");
  context.fork_communication();
  for (const LocalTensor& tensor : tensors_)
    if (tensor.is_here() && tensor.spec->tied_pipeline_rank >= 0)
      communicators_->tied->all_reduce_sum(tensor.gradient);
  context.join_communication();
}

void ParameterStore::wait_for_gradients(device::Context& context) {
  if (is_tied_pending_) {
    is_tied_pending_ = false;
    add_tied_gradients(context);
    reduce(context, tied_bucket_);
  }
  context.join_communication();
}

// --- Weights. ---

void ParameterStore::gather(device::Context& context) {
  const auto scope = context.profiler().scope(Phase::weight_communication);
  if (partition_.zero_stage() == 0 || spans_.empty()) return;
  context.fork_communication();
  for (std::size_t i = 0; i < spans_.size(); ++i) group(i).all_gather_shards(all_[i].weights);
  context.join_communication();
}

void ParameterStore::set_gather_order(std::vector<int> order) {
  std::erase_if(order, [&](int bucket) { return bucket >= num_buckets_; });
  ESPALIER_ASSERT(std::ssize(order) == num_buckets_, "an order of {} of {} buckets", order.size(),
                  num_buckets_);
  gather_order_ = std::move(order);
  next_gather_ = gather_order_.size();
}

void ParameterStore::begin_gather(device::Context& context) {
  if (context.on_host() || !overlap_) return gather(context);
  if (partition_.zero_stage() == 0 || spans_.empty()) return;
  const auto scope = context.profiler().scope(Phase::weight_communication);
  context.fork_communication();
  next_gather_ = 0;
  enqueue_gathers(context, has_messages_in_passes_ ? 1 + kGatherAhead : gather_order_.size());
}

void ParameterStore::enqueue_gathers(device::Context& context, std::size_t end) {
  for (end = std::min(end, gather_order_.size()); next_gather_ < end; ++next_gather_) {
    const int bucket = gather_order_[next_gather_];
    const ShardsBySpan& shards = buckets_[static_cast<std::size_t>(bucket)];
    for (std::size_t i = 0; i < spans_.size(); ++i) group(i).all_gather_shards(shards[i].weights);
    gathered_.record(context, bucket, num_buckets_);
  }
}

void ParameterStore::acquire(device::Context& context, int bucket) {
  if (next_gather_ < gather_order_.size()) {
    const auto place = std::find(gather_order_.begin(), gather_order_.end(), bucket);
    const auto scope = context.profiler().scope(Phase::weight_communication);
    enqueue_gathers(context,
                    static_cast<std::size_t>(place - gather_order_.begin()) + 1 + kGatherAhead);
  }
  gathered_.wait(context, bucket);
  ++num_users_[static_cast<std::size_t>(bucket)];
}

// Called while an Error is on its way, too: what is wrong shows at the next wait_for_gathers.
void ParameterStore::release(int bucket) noexcept {
  --num_users_[static_cast<std::size_t>(bucket)];
}

void ParameterStore::wait_for_gathers(device::Context& context) {
  for (std::size_t bucket = 0; bucket < num_users_.size(); ++bucket)
    ESPALIER_ASSERT(num_users_[bucket] == 0, "weights of bucket {} have {} users", bucket,
                    num_users_[bucket]);
  enqueue_gathers(context, gather_order_.size());
  gathered_.wait_for_all(context);
}

std::int64_t ParameterStore::staging_bytes() const {
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

}  // namespace espalier::parallel
