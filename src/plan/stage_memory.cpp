#include "plan/stage_memory.hpp"

#include <algorithm>
#include <numeric>

#include "base/integers.hpp"
#include "config/grid.hpp"
#include "device/gemm.hpp"
#include "plan/memory_fit.hpp"
#include "train/step/programs.hpp"

namespace espalier::plan {
namespace {

/// From so many rounds of p micro-batches on a rank of a pipeline keeps no more than with one round
/// less, but in gpipe, which keeps all.
constexpr int kRounds = 4;

}  // namespace

const std::vector<RankBuffers>& ScheduleBuffers::of(pipeline::ScheduleKind kind,
                                                    const pipeline::PipelineShape& asked) {
  pipeline::PipelineShape shape = asked;
  if (kind != pipeline::ScheduleKind::gpipe)
    shape.micro_batches -= std::max(0, shape.micro_batches / shape.ranks - kRounds) * shape.ranks;
  const auto [known, is_new] =
      known_.try_emplace({kind, shape.ranks, shape.chunks, shape.micro_batches});
  std::vector<RankBuffers>& all = known->second;
  if (!is_new) return all;
  const pipeline::Schedule schedule = pipeline::make_schedule(kind, shape);
  const pipeline::Placement& placement = schedule.placement;
  const pipeline::Schedule evaluation =
      train::forward_schedule(placement, train::forward_group(placement));
  for (int rank = 0; rank < shape.ranks; ++rank) {
    const pipeline::RankProgram program = pipeline::lower_rank(schedule, rank, {.early = true});
    const pipeline::RankProgram forward = pipeline::lower_rank(evaluation, rank, {.early = true});
    all.push_back({.slots = program.buffers.slots,
                   .weight_slots = program.buffers.weight_slots,
                   .messages = model::MessageCounts::of(program, placement)
                                   .join(model::MessageCounts::of(forward, placement))
                                   .total()});
  }
  return all;
}

ActivationBytes::ActivationBytes(const config::Parameters& p, device::Backend backend,
                                 int compute_capability)
    : backend_(backend),
      dtype_(dtype_from_name(p.training.dtype)),
      shape_(activation_shape(p, config::grid_shape(p), backend, compute_capability)) {
  const parallel::ProcessGrid grid = config::process_grid(p, 0);
  sizes_ = model::LocalSizes::of(model::Architecture::from(p.model), grid);
  if (backend != device::Backend::host)
    workspace_bytes_ = device::Context::workspace_bytes(workspace_elements(p, grid, backend)) +
                       device::Gemm::workspace_bytes(backend);
  message_bytes_ = planned({}, 0, 0, 1) - planned({}, 0, 0, 0);
}

std::int64_t ActivationBytes::planned(const StageKind& kind, int slots, int weight_slots,
                                      int messages) const {
  model::ActivationShape shape = shape_;
  shape.num_slots = slots;
  shape.num_weight_slots = weight_slots;
  shape.chunks = {{.first = 0,
                   .num_layers = kind.num_layers,
                   .has_embedding = kind.has_embedding,
                   .has_head = kind.has_head}};
  shape.messages.local = messages;
  device::Arena arena = device::Arena::planning("activations");
  const model::Activations activations(*sizes_, shape, dtype_, arena);
  return arena.used_bytes();
}

std::pair<std::int64_t, std::int64_t> ActivationBytes::slot_bytes(const StageKind& kind) {
  if (const auto known = slots_.find(kind); known != slots_.end()) return known->second;
  std::pair<std::int64_t, std::int64_t> bytes;
  if (kind.num_layers <= 2) {
    const std::int64_t without = planned(kind, 0, 0, 0);
    bytes = {planned(kind, 1, 0, 0) - without, planned(kind, 0, 1, 0) - without};
  } else {
    StageKind few = kind;
    few.num_layers = 1;
    const auto one = slot_bytes(few);
    few.num_layers = 2;
    const auto two = slot_bytes(few);
    bytes = {one.first + (kind.num_layers - 1) * (two.first - one.first),
             one.second + (kind.num_layers - 1) * (two.second - one.second)};
  }
  return slots_[kind] = bytes;
}

std::int64_t ActivationBytes::of(const std::vector<StageKind>& stages, const RankBuffers& buffers) {
  std::int64_t slot = 0, weight_slot = 0;
  bool has_blocks = false;
  for (const StageKind& stage : stages) {
    const auto [activations, weights] = slot_bytes(stage);
    slot = std::max(slot, activations);
    weight_slot = std::max(weight_slot, weights);
    has_blocks |= stage.num_layers > 0;
  }
  const auto [rest, is_new] = rest_.try_emplace(has_blocks);
  if (is_new) rest->second = planned({.num_layers = has_blocks ? 1 : 0}, 0, 0, 0);
  return rest->second + buffers.slots * slot + buffers.weight_slots * weight_slot +
         buffers.messages * message_bytes_ + workspace_bytes_;
}

std::int64_t StateBytes::total(const Sum& sum) const {
  const std::int64_t square_sums = sum.shards * static_cast<std::int64_t>(sizeof(double));
  return sum.bytes + copies_ * round_up(square_sums, device::Arena::kAlignment);
}

StateBytes::StateBytes(const config::Parameters& parameters, device::Backend backend,
                       int compute_capability)
    : p_(parameters), backend_(backend), compute_capability_(compute_capability) {
  ESPALIER_ASSERT(has_blocks_alike(p_), "blocks of {} that are not alike", p_.model.model_type);
  p_.training.micro_batch_size = 1;
  copies_ = backend == device::Backend::host && saves_copy(p_.checkpoint) ? 2 : 1;
  // Of the embedding, of two blocks, of three, of the head: a rank has one of them.
  const std::vector<std::int64_t> stages = {2, 2, 3, 2};
  parallel::GridShape stage = config::grid_shape(p_);
  stage.pipeline = 1;
  for (const int corner : parallel::corner_ranks(stage)) {
    const Sum two = planned(stages, 1, corner);
    corners_.push_back({.two = two,
                        .block = planned(stages, 2, corner).plus(two, -1),
                        .embedding = planned(stages, 0, corner).plus(two, -1),
                        .head = planned(stages, 3, corner).plus(two, -1),
                        .both = planned({2}, 0, corner).plus(two, -1)});
  }
}

StateBytes::Sum StateBytes::planned(const std::vector<std::int64_t>& stage_layers,
                                    int pipeline_rank, int corner) const {
  config::Parameters p = p_;
  p.parallel.pipeline = std::ssize(stage_layers);
  p.parallel.schedule = "1f1b";
  p.parallel.chunks = 1;
  p.parallel.stage_layers = stage_layers;
  p.model.num_hidden_layers =
      std::accumulate(stage_layers.begin(), stage_layers.end(), std::int64_t{0});
  p.training.global_batch_size = p.parallel.data;
  const parallel::GridShape shape = config::grid_shape(p);
  const TrainingMemory plan = TrainingMemory::planned(
      p, {shape, pipeline_rank * shape.stage_size() + corner}, backend_, compute_capability_);
  const Sum sums{0, std::ssize(plan.parameter_store->shards())};
  return {plan.weight_arena.used_bytes() + plan.gradient_arena.used_bytes() +
              copies_ * plan.optimizer_arena.used_bytes() - total(sums),
          sums.shards};
}

std::int64_t StateBytes::of(const StageKind& kind) {
  const auto [known, is_new] = known_.try_emplace(kind);
  if (!is_new) return known->second;
  for (const Corner& corner : corners_) {
    Sum sum = corner.two.plus(corner.block, kind.num_layers - 2);
    if (kind.has_embedding && kind.has_head)
      sum = sum.plus(corner.both, 1);
    else if (kind.has_embedding)
      sum = sum.plus(corner.embedding, 1);
    else if (kind.has_head)
      sum = sum.plus(corner.head, 1);
    known->second = std::max(known->second, total(sum));
  }
  return known->second;
}

}  // namespace espalier::plan
