#pragma once
#include <cstdint>
#include <functional>
#include <span>
#include <string_view>
#include <vector>

#include "config/parameters.hpp"
#include "device/arena.hpp"
#include "device/context.hpp"
#include "kernels/optim/adamw.hpp"
#include "parallel/parameter_store.hpp"

namespace espalier::optim {

/// fp32 state of one owned shard, (rows, cols) each.
struct StateShard {
  parallel::OwnedShard shard;
  device::View master, m, v;
};

/// Parts of the arena of the optimizer's state (device::Arena::begin_part).
inline constexpr std::string_view kMasterPart = "master weights";
inline constexpr std::string_view kMomentPart = "moments";

/// AdamW (Loshchilov and Hutter 2019, arXiv:1711.05101) on the shards that this rank owns.
class AdamW {
 public:
  /// Allocates master, m, v of the owned shards in `arena` (planned or backed). `store` must
  /// outlive it.
  AdamW(parallel::ParameterStore& store, device::Arena& arena);

  struct Update {
    double learning_rate;
    double gradient_scale;  ///< min(1, max_grad_norm / norm)
    std::int64_t step;      ///< from 1
  };
  /// After ParameterStore::wait_for_gradients; waits for the gathers that were begun itself.
  /// Updates the owned shards, each after before_overwrite(index into state()), which may wait for
  /// the checkpoint writer. Writes the owned rows of the weights.
  void update(device::Context& context, const config::OptimizerParameters& parameters,
              const Update& update, const std::function<void(std::int64_t)>& before_overwrite);

  /// weights (owned rows) = master; then ParameterStore::gather makes them known. After init and
  /// restart.
  void weights_from_master(device::Context& context);

  /// Of the shards of ParameterStore::shards, in their order.
  std::span<StateShard> state() { return state_; }
  const parallel::ParameterStore& store() const { return store_; }

 private:
  parallel::ParameterStore& store_;
  std::vector<StateShard> state_;
  std::vector<kernels::AdamW> rectangles_;
};

}  // namespace espalier::optim
