#include "optim/adamw.hpp"

#include "kernels/elementwise.hpp"

namespace espalier::optim {

using device::Phase;
using device::View;
using parallel::LocalTensor;
using parallel::OwnedShard;

namespace {

View rows_of(const View& view, const OwnedShard& shard) {
  return view.row_range(shard.row_begin, shard.row_end - shard.row_begin);
}

}  // namespace

AdamW::AdamW(parallel::ParameterStore& store, device::Arena& arena) : store_(store) {
  for (const OwnedShard& shard : store.shards()) {
    const std::string& name = store.tensor_of(shard).spec->name;
    const std::int64_t rows = shard.rectangle.rows();
    const std::int64_t cols = shard.rectangle.cols();
    StateShard state{.shard = shard, .master = {}, .m = {}, .v = {}};
    arena.begin_part(kMasterPart);
    state.master = arena.allocate("master " + name, DType::f32, rows, cols);
    arena.begin_part(kMomentPart);
    state.m = arena.allocate("moment 1 " + name, DType::f32, rows, cols);
    state.v = arena.allocate("moment 2 " + name, DType::f32, rows, cols);
    state_.push_back(state);
  }
}

void AdamW::update(device::Context& context, const config::OptimizerParameters& parameters,
                   const Update& update,
                   const std::function<void(std::int64_t)>& before_overwrite) {
  const auto scope = context.profiler().scope(Phase::optimizer);
  store_.wait_for_gathers(context);
  // A GPU takes many shards in one launch; the host gains nothing by that, and shard by shard the
  // checkpoint writer is waited for as late as possible.
  const std::size_t at_once = context.on_host() ? 1 : 64;
  rectangles_.clear();
  for (std::size_t i = 0; i < state_.size(); ++i) {
    const StateShard& state = state_[i];
    const LocalTensor& tensor = store_.tensor_of(state.shard);
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

void AdamW::weights_from_master(device::Context& context) {
  const auto scope = context.profiler().scope(Phase::optimizer);
  store_.wait_for_gathers(context);
  for (const StateShard& state : state_)
    kernels::cast(context, rows_of(store_.tensor_of(state.shard).weight, state.shard),
                  state.master);
}

}  // namespace espalier::optim
