#include "optim/gradient_norm.hpp"

#include <algorithm>
#include <numeric>

#include "kernels/elementwise.hpp"

namespace espalier::optim {

using parallel::OwnedShard;

GradientNorm::GradientNorm(parallel::ParameterStore& store, device::Arena& arena)
    : store_(store), tensor_sums_(store.tensors().size()) {
  arena.begin_part("sums of squares");
  shard_sums_ = arena.allocate("gradient square sums", DType::f64, std::ssize(store.shards()), 1);
}

// At stage 0 every rank has all gradients of what it holds, yet takes only the rows it would own at
// stage 1: the work is shared, and the norm has the same bits at both stages.
std::span<const double> GradientNorm::square_sums(device::Context& context) {
  store_.wait_for_gradients(context);
  const auto scope = context.profiler().scope(device::Phase::clipping);
  gradients_.clear();
  for (const OwnedShard& shard : store_.shards()) {
    if (!shard.writes) continue;
    const std::int64_t first =
        shard.row_begin + shard.written.row_begin - shard.rectangle.row_begin;
    gradients_.push_back(store_.tensor_of(shard).gradient.row_range(first, shard.written.rows()));
  }
  const auto count = std::ssize(gradients_);
  kernels::sums_of_squares(context, shard_sums_.row_range(0, count), gradients_);
  const std::vector<double> sums = context.download<double>(shard_sums_.row_range(0, count));
  std::fill(tensor_sums_.begin(), tensor_sums_.end(), 0.0);
  auto next = sums.begin();
  for (const OwnedShard& shard : store_.shards())
    if (shard.writes) tensor_sums_[static_cast<std::size_t>(shard.tensor)] = *next++;
  return tensor_sums_;
}

double squared_norm(std::span<const double> square_sums) {
  return std::accumulate(square_sums.begin(), square_sums.end(), 0.0);
}

double clip_scale(double norm, double max_norm) {
  return max_norm == 0.0 || norm <= max_norm ? 1.0 : max_norm / norm;
}

}  // namespace espalier::optim
