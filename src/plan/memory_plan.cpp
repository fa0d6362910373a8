#include "plan/memory_plan.hpp"

#include <algorithm>

#include "base/integers.hpp"
#include "base/text.hpp"
#include "config/problems.hpp"
#include "device/gemm.hpp"
#include "device/staging.hpp"
#include "kernels/attention/attention_provider.hpp"
#include "kernels/workspace.hpp"
#include "plan/memory_fit.hpp"
#include "plan/recompute_budget.hpp"
#include "train/step/programs.hpp"

namespace espalier::plan {

namespace {

std::vector<device::Arena> planning_arenas() {
  std::vector<device::Arena> arenas;
  for (const char* name : {"weights", "gradients", "activations", "optimizer state"})
    arenas.push_back(device::Arena::planning(name));
  return arenas;
}

}  // namespace

model::ActivationShape activation_shape(const config::Parameters& p,
                                        const parallel::GridShape& shape, device::Backend backend,
                                        int compute_capability) {
  return {.micro_batch_size = p.training.micro_batch_size,
          .sequence_length = p.training.sequence_length,
          .loss_chunk_tokens = p.training.loss_chunk_tokens,
          .tensor_size = shape.tensor,
          .context_size = shape.context,
          .kv_heads_at_a_time = p.parallel.context_kv_heads,
          .splits_tokens = p.parallel.sequence_parallel && shape.tensor > 1,
          .training = true,
          .on_gpu = backend != device::Backend::host,
          .recompute = recompute_mix(p, shape, backend, compute_capability),
          .attention = kernels::attention_provider_from_name(p.device.attention),
          .compute_capability = compute_capability,
          .documents = p.data.document_mask,
          .experts = model::ExpertOptions::of(p)};
}

TrainingMemory::TrainingMemory(const config::Parameters& p, const parallel::ProcessGrid& place,
                               device::Backend backend, int compute_capability,
                               std::vector<device::Arena> arenas)
    : architecture(model::Architecture::from(p.model)),
      dtype(dtype_from_name(p.training.dtype)),
      weight_arena(std::move(arenas[0])),
      gradient_arena(std::move(arenas[1])),
      activation_arena(std::move(arenas[2])),
      optimizer_arena(std::move(arenas[3])),
      assignment(model::assign_stages(architecture, p)),
      program(train::training_program(p, place)) {
  const parallel::ProcessGrid grid = place.with(
      parallel::views_of(architecture.num_kv_heads, place.shape(), narrow<int>(p.parallel.expert)));
  const pipeline::Placement& placement = assignment.placement;
  const int pipeline_rank = grid.pipeline_rank();
  const pipeline::RankProgram evaluation =
      train::forward_program(placement, train::forward_group(placement), pipeline_rank);
  model::ActivationShape shape = activation_shape(p, grid.shape(), backend, compute_capability);
  shape.num_slots = program.buffers.slots;
  shape.num_weight_slots = program.buffers.weight_slots;
  shape.chunks = assignment.of_rank(pipeline_rank);
  shape.messages = model::MessageCounts::of(program, placement)
                       .join(model::MessageCounts::of(evaluation, placement));
  weights = std::make_unique<model::Weights>(architecture, grid, dtype, weight_arena,
                                             &gradient_arena, shape.splits_tokens, assignment);
  activations =
      std::make_unique<model::Activations>(weights->sizes(), shape, dtype, activation_arena);
  if (shape.on_gpu) {
    kernel_workspace_bytes_ =
        device::Context::workspace_bytes(workspace_elements(p, grid, backend));
    gemm_workspace_bytes_ = device::Gemm::workspace_bytes(backend);
    pinned_bytes_ = device::Staging::kPinnedBytes + kCheckpointPinnedBytes;
  }
  parameter_store = std::make_unique<parallel::ParameterStore>(
      weights->local_tensors(), grid, static_cast<int>(p.parallel.zero_stage));
  parameter_store->set_overlap(p.parallel.overlap_data);
  parameter_store->set_gather_order(weights->buckets().forward_order());
  optimizer = std::make_unique<optim::AdamW>(*parameter_store, optimizer_arena);
  gradient_norm = std::make_unique<optim::GradientNorm>(*parameter_store, optimizer_arena);
  if (activations->expert_bias.exists())
    expert_bias = std::make_unique<optim::ExpertBias>(activations->expert_bias, p.experts);
  if (backend == device::Backend::emulated || (shape.on_gpu && p.device.communicator == "mpi"))
    pinned_bytes_ += largest_collectives(p, grid);
}

std::int64_t TrainingMemory::largest_collectives(const config::Parameters& p,
                                                 const parallel::ProcessGrid& grid) const {
  const std::int64_t residual = activations->shape.tokens() * architecture.hidden_size *
                                static_cast<std::int64_t>(size_of(dtype));
  std::int64_t bytes = parameter_store->staging_bytes();
  if (grid.shape().tensor > 1) bytes += residual;
  if (grid.shape().tensor > 1 && p.parallel.overlap_tensor)
    bytes += residual;  // the group's second communicator
  if (const model::ContextScratch& context = activations->context; context.exists())
    bytes += std::max(context.of_ranks.size_bytes(), context.d_of_ranks.size_bytes());
  const model::ExpertScratch& experts = activations->experts;
  if (experts.received.exists())
    bytes += experts.pairs.size_bytes() + experts.received.size_bytes();
  // Messages between stages: each that may be under way, and the copy of the one that follows it.
  const model::ActivationShape& shape = activations->shape;
  bytes += 2 * (shape.messages.total() - shape.messages.local) * residual * shape.local_tokens() /
           shape.tokens();
  return bytes;
}

TrainingMemory TrainingMemory::planned(const config::Parameters& parameters,
                                       const parallel::ProcessGrid& grid, device::Backend backend,
                                       int compute_capability) {
  return TrainingMemory(parameters, grid, backend, compute_capability, planning_arenas());
}

TrainingMemory TrainingMemory::backed(const config::Parameters& parameters,
                                      const parallel::ProcessGrid& grid,
                                      const device::Context& context,
                                      device::MemorySource activation_source) {
  const int capability =
      context.gpu() != nullptr ? context.gpu()->description().compute_capability : 0;
  const TrainingMemory plan = planned(parameters, grid, context.backend(), capability);
  if (context.gpu() != nullptr) {
    const std::string why =
        why_not_fitting(parameters, grid, room_of(parameters, grid, *context.gpu()));
    require(why.empty(), ExitStatus::bad_configuration, "{}", why);
  }
  plan.activations->require_attention(plan.dtype);
  std::vector<device::Arena> arenas;
  for (const device::Arena* arena : plan.arenas())
    arenas.push_back(device::Arena::backed(
        arena->name(), arena->used_bytes(), context.shared_gpu(),
        arena == &plan.activation_arena ? activation_source : device::MemorySource{}));
  return TrainingMemory(parameters, grid, context.backend(), capability, std::move(arenas));
}

std::vector<TrainingMemory::Line> TrainingMemory::lines() const {
  std::vector<Line> lines;
  for (const device::Arena* arena : arenas()) lines.push_back({arena->name(), arena->used_bytes()});
  for (Line& line : workspace_lines()) lines.push_back(std::move(line));
  return lines;
}

std::vector<TrainingMemory::Line> TrainingMemory::workspace_lines() const {
  if (gemm_workspace_bytes_ == 0) return {};
  return {{"kernel workspace", kernel_workspace_bytes_}, {"GEMM workspace", gemm_workspace_bytes_}};
}

std::vector<const device::Arena*> TrainingMemory::arenas() const {
  return {&weight_arena, &gradient_arena, &activation_arena, &optimizer_arena};
}

std::int64_t TrainingMemory::total_bytes() const {
  std::int64_t total = 0;
  for (const Line& line : lines()) total += line.bytes;
  return total;
}

train::StepModel step_model(device::Context& context, const parallel::ProcessGrid& grid,
                            parallel::GridCommunicators& communicators, model::RankStages& stages,
                            TrainingMemory& memory, parallel::PipelineLink* link) {
  return {.context = context,
          .grid = grid,
          .communicators = communicators,
          .stages = stages,
          .part = {.program = memory.program,
                   .placement = memory.assignment.placement,
                   .messages = memory.activations->messages,
                   .link = link},
          .parameters = *memory.parameter_store,
          .gradient_norm = *memory.gradient_norm,
          .optimizer = *memory.optimizer,
          .expert_bias = memory.expert_bias.get()};
}

std::int64_t workspace_elements(const config::Parameters& p, const parallel::ProcessGrid& grid,
                                device::Backend backend) {
  if (backend == device::Backend::host) return 0;
  const auto architecture = model::Architecture::from(p.model);
  const auto sizes = model::LocalSizes::of(architecture, grid);
  std::int64_t width = std::max(sizes.hidden, 2 * sizes.head_dim);
  if (architecture.biases) width = std::max({width, sizes.qkv_cols(), sizes.gate_up_cols()});
  width = std::max(width, sizes.num_experts);
  return kernels::workspace_elements(
      backend, width,
      p.training.micro_batch_size * p.training.sequence_length / grid.shape().context);
}

void require_blocks_of_gpu(const config::Parameters& p, device::Backend backend) {
  const std::int64_t ranks = p.parallel.context, length = p.training.sequence_length;
  if (backend == device::Backend::host || ranks == 1) return;
  const std::int64_t unit = ranks * kernels::kGpuBlockLength;
  if (length % unit == 0) return;
  throw Error(
      ExitStatus::bad_configuration,
      fmt::format("on a GPU the ranks of parallel.context = {} share sequences in blocks of {} "
                  "tokens, and training.sequence_length = {} is not a multiple of {} x {}: use {}",
                  ranks, kernels::kGpuBlockLength, length, ranks, kernels::kGpuBlockLength,
                  config::nearest_multiples(length, unit)),
      Met::by_every_rank);
}

int planned_capability(const config::DeviceParameters& parameters, device::Backend backend) {
  if (backend != device::Backend::cuda) return 0;
  return parameters.compute_capability > 0 ? narrow<int>(parameters.compute_capability)
                                           : device::Gpu::first_compute_capability(backend);
}

std::string describe_memory_plan(const config::Parameters& parameters,
                                 const parallel::GridShape& shape, device::Backend backend) {
  const int capability = planned_capability(parameters.device, backend);
  std::int64_t smallest = 0;
  std::int64_t largest = 0;
  for (const int rank : parallel::corner_ranks(shape)) {
    const std::int64_t total =
        TrainingMemory::planned(parameters, {shape, rank}, backend, capability).total_bytes();
    smallest = smallest == 0 ? total : std::min(smallest, total);
    largest = std::max(largest, total);
  }
  const TrainingMemory first = TrainingMemory::planned(parameters, {shape, 0}, backend, capability);
  const bool on_host = backend == device::Backend::host;
  std::string text = fmt::format("memory plan of rank 0{}\n", on_host ? "" : ", on its GPU");
  for (const TrainingMemory::Line& line : first.lines())
    text +=
        fmt::format("  {:<17} {:>12}\n", line.name, human_bytes(static_cast<double>(line.bytes)));
  text += fmt::format("  {:<17} {:>12}", "total",
                      human_bytes(static_cast<double>(first.total_bytes())));
  if (shape.size() > 1)
    text += fmt::format("   over all ranks: {} to {}", human_bytes(static_cast<double>(smallest)),
                        human_bytes(static_cast<double>(largest)));
  if (on_host) {
    text +=
        "\n  beside the arenas: the program, its libraries and up to 16 MiB of staging for "
        "collectives";
    if (const std::int64_t bytes = device::Gemm::host_scratch_bytes(first.dtype); bytes > 0)
      text += fmt::format(", and {} in which products of bf16 widen their operands",
                          human_bytes(static_cast<double>(bytes)));
  } else {
    text += fmt::format(
        "\n  beside it on the GPU: what CUDA, cuBLAS and NCCL take for themselves; on the host: "
        "the program and up to {} of pinned memory",
        human_bytes(static_cast<double>(first.pinned_bytes())));
  }
  if (parameters.checkpoint.staging == "copy")
    text += fmt::format(
        "\n  from the first save on at most {} more{}, for shards updated before they are written "
        "(none with checkpoint.staging = \"wait\")",
        human_bytes(static_cast<double>(first.optimizer_arena.used_bytes())),
        on_host ? "" : " of host memory");
  return text;
}

}  // namespace espalier::plan
