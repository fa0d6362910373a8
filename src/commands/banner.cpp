#include "commands/banner.hpp"

#include <map>

#include "base/host_loops.hpp"
#include "base/log.hpp"
#include "base/text.hpp"
#include "commands/build_info.hpp"
#include "commands/simd_choice.hpp"
#include "device/context.hpp"
#include "model/architecture.hpp"
#include "parallel/layout/context_blocks.hpp"
#include "plan/memory_fit.hpp"
#include "plan/memory_plan.hpp"
#include "plan/recompute_budget.hpp"
#include "train/device_choice.hpp"

namespace espalier::commands {

plan::Room planned_room(const config::DeviceParameters& parameters, device::Backend backend) {
  plan::Room room = plan::room_of(parameters, backend);
  room.compute_capability = plan::planned_capability(parameters, backend);
  return room;
}

void print_job(parallel::MpiSession& session, const config::Parameters& parameters,
               device::Backend backend) {
  std::map<std::string, int> ranks_per_host;
  for (const std::string& host : session.host_names()) ++ranks_per_host[host];
  const std::string lower_level = why_not_better(session, parameters.device);
  if (session.rank() != 0) return;
  log::info("{}", build_description());
  if (!parameters.run.name.empty()) log::info("run \"{}\"", parameters.run.name);
  std::string hosts;
  for (const auto& [host, count] : ranks_per_host)
    if (hosts.size() < 400)
      hosts += fmt::format("{}{} x {}", hosts.empty() ? "" : ", ", count, host);
  log::info("{} rank{} on {} host{}: {}", session.size(), session.size() == 1 ? "" : "s",
            ranks_per_host.size(), ranks_per_host.size() == 1 ? "" : "s", hosts);
  // Which GPU a rank has is known, and said, when the job's devices are opened.
  if (backend == device::Backend::host) log::info("device: {}", device::Context().describe());
  if (!lower_level.empty()) log::info("{}", lower_level);
}

void print_banner(parallel::MpiSession& session, const config::Parameters& parameters,
                  const parallel::GridShape& shape) {
  const device::Backend backend = train::choose_backend(session, parameters.device);
  if (backend == device::Backend::host) plan::require_budget(parameters);
  plan::require_blocks_of_gpu(parameters, backend);
  print_job(session, parameters, backend);
  if (session.rank() != 0) return;
  const parallel::ProcessGrid grid(shape, 0);
  const std::int64_t expert = parameters.parallel.expert;
  log::info("process grid: {}{}{}, ZeRO stage {}\n{}", grid.describe(),
            parameters.parallel.sequence_parallel && shape.tensor > 1 ? ", sequence parallel" : "",
            expert > 1 ? fmt::format(", experts over {} ranks", expert) : std::string(),
            parameters.parallel.zero_stage, grid.picture());
  const auto architecture = model::Architecture::from(parameters.model);
  if (shape.pipeline > 1) {
    const model::StageAssignment stages = model::assign_stages(architecture, parameters);
    log::info("pipeline: {}, {} stages on {} ranks\n{}", parameters.parallel.schedule,
              stages.placement.num_stages(), stages.placement.ranks, stages.picture());
  }
  log::info("{}", architecture.describe());
  const auto& t = parameters.training;
  if (shape.context > 1) {
    const std::int64_t block = parallel::context_block_length(t.sequence_length, shape.context);
    log::info("context: each of {} ranks has {} blocks of {} tokens of every sequence",
              shape.context, t.sequence_length / shape.context / block, block);
  }
  log::info(
      "batch: {} sequences of {} = {} tokens per step, {} micro-batch{} of {} per data rank; {} "
      "steps, {} tokens in all; {}",
      t.global_batch_size, t.sequence_length, with_commas(t.global_batch_size * t.sequence_length),
      t.global_batch_size / (t.micro_batch_size * shape.data),
      t.global_batch_size == t.micro_batch_size * shape.data ? "" : "es", t.micro_batch_size,
      with_commas(t.steps),
      human_count(static_cast<double>(t.steps) *
                  static_cast<double>(t.global_batch_size * t.sequence_length)),
      t.dtype);
  if (plan::is_budget_open(parameters) && parameters.device.memory_gib <= 0.0)
    log::info("memory plan: when the GPUs have said what they have free");
  else
    log::info("{}", plan::describe_memory_plan(
                        plan::with_recompute_chosen(parameters, shape,
                                                    planned_room(parameters.device, backend)),
                        shape, backend));
}

void print_fit(parallel::MpiSession& session, const config::Parameters& parameters,
               const parallel::GridShape& shape) {
  using device::Backend;
  using device::Gpu;
  const Backend backend = train::choose_backend(session, parameters.device);
  if (session.rank() != 0) return;
  const auto say = [&](const plan::Room& room) {
    const config::Parameters chosen = plan::with_recompute_chosen(parameters, shape, room);
    if (chosen.memory.recompute == "budget")
      log::info("{}", plan::describe_recompute(chosen, shape, room));
    log::info("{}", plan::describe_fit(parameters, shape, room));
  };
  const bool has_gpu = backend == Backend::cuda && Gpu::count(Backend::cuda) > 0;
  if (parameters.device.memory_gib > 0.0) {
    say(planned_room(parameters.device, backend));
  } else if (has_gpu) {
    say(plan::room_of(*Gpu::open(Backend::cuda, 0)));
  } else if (parameters.device.backend == "cuda") {
    log::info("no GPU here ({}): set device.memory_gib to learn whether the plan fits",
              Gpu::why_none(Backend::cuda));
  }
  if (backend != Backend::cuda) return;
  const int capability = plan::planned_capability(parameters.device, Backend::cuda);
  if (capability == 0) {
    log::info("attention: set device.compute_capability to learn who would compute it");
    return;
  }
  config::Parameters any_mode = parameters;
  any_mode.memory.recompute = "none";
  const auto plan = plan::TrainingMemory::planned(any_mode, {shape, 0}, Backend::cuda, capability);
  log::info("{}", plan.activations->describe_attention(plan.dtype));
  if (const std::string why = Gpu::why_without_code_for(capability); !why.empty())
    log::info("missing: {}", why);
}

}  // namespace espalier::commands
