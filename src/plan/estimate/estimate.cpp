#include "plan/estimate/estimate.hpp"

#include <algorithm>
#include <cmath>

#include "base/integers.hpp"
#include "base/text.hpp"
#include "plan/estimate/layout_memory.hpp"
#include "plan/flops.hpp"
#include "plan/scaling/search_space.hpp"

namespace espalier::plan {
namespace {

constexpr double kGb = 1e9;
constexpr double kCachedFileGbs = 2.0;
constexpr double kFetchGbs = 8.0;
/// fp32 master weight and two moments.
constexpr double kBytesPerParameter = 12.0;

std::int64_t tokens_per_step(const config::Parameters& p) {
  return p.training.global_batch_size * p.training.sequence_length;
}

double peak_tflops(const config::Parameters& p, const config::HardwareParameters& h) {
  const bool bf16 = p.training.dtype == "bfloat16";
  const double peak = bf16 ? h.peak_bf16_tflops : h.peak_fp32_tflops;
  return peak > 0.0 ? peak : bf16 ? h.product_bf16_tflops : h.product_fp32_tflops;
}

void add_checkpoints(Estimate& e, const config::Parameters& p, const config::HardwareParameters& h,
                     std::int64_t num_parameters) {
  const double step = e.time.step() + e.input;
  e.checkpoint_interval = p.checkpoint.interval > 0
                              ? static_cast<double>(p.checkpoint.interval) * step
                              : 60.0 * p.plan.checkpoint_minutes;
  if (e.checkpoint_interval <= 0.0) return;
  const double bytes =
      kBytesPerParameter * static_cast<double>(num_parameters) / static_cast<double>(e.ranks);
  const double writers = static_cast<double>(std::min(h.devices_per_node, e.ranks));
  const double write_rate = h.storage_gbs * kGb / writers;
  const double fetch_rate =
      (h.kind == "gpu" || h.copy_gbs <= 0.0 ? kFetchGbs : h.copy_gbs / 2.0) * kGb;
  const double left = std::max(0.0, bytes - step * write_rate);
  const bool waits = p.checkpoint.staging == "wait" && write_rate > 0.0;
  e.checkpoint_seconds = left / (waits ? write_rate : fetch_rate);
  if (write_rate > 0.0)
    e.checkpoint_seconds += std::max(0.0, bytes / write_rate - e.checkpoint_interval);
  e.checkpoint_share = e.checkpoint_seconds / (e.checkpoint_interval + e.checkpoint_seconds);
}

}  // namespace

RunFigures RunFigures::of(const config::Parameters& p) {
  const auto architecture = model::Architecture::from(p.model);
  return {.num_parameters = architecture.num_parameters(),
          .flops = flops_per_token(architecture, static_cast<double>(p.training.sequence_length))};
}

void add_times(Estimate& e, const StepTime& time, const config::Parameters& p,
               const config::HardwareParameters& h, const RunFigures& run) {
  e.time = time;
  const double tokens = static_cast<double>(tokens_per_step(p));
  e.input = 4.0 * tokens / static_cast<double>(p.parallel.data) / (kCachedFileGbs * kGb);
  add_checkpoints(e, p, h, run.num_parameters);
  e.tokens_per_second = tokens / e.step();
  if (const double peak = peak_tflops(p, h) * 1e12 * static_cast<double>(e.ranks); peak > 0.0) {
    e.mfu_causal = e.tokens_per_second * run.flops.causal_attention / peak;
    e.mfu_full = e.tokens_per_second * run.flops.full_attention / peak;
  }
  e.hours = static_cast<double>(p.training.steps) * e.step() / 3600.0;
}

Estimate estimate(const config::Parameters& asked, const config::HardwareParameters& hardware) {
  const config::Parameters parameters = chosen_for(asked, hardware);
  LayoutMemory memory(hardware);
  Estimate result = memory.of(parameters);
  add_times(result, predict_step(parameters, hardware), parameters, hardware,
            RunFigures::of(parameters));
  return result;
}

std::vector<StepPart> step_parts(const Estimate& e) {
  return {{"products", "matrix products", e.time.products},
          {"attention", "attention", e.time.attention},
          {"memory_bound", "memory-bound operators", e.time.memory_bound},
          {"tensor_exposed", "tensor communication", e.time.tensor_exposed},
          {"context_exposed", "context communication", e.time.context_exposed},
          {"expert_exposed", "expert communication", e.time.expert_exposed},
          {"data_exposed", "data communication", e.time.data_exposed},
          {"bubble", "pipeline bubble", e.time.bubble},
          {"other", "norm, loss, overheads", e.time.other},
          {"input", "input", e.input},
          {"checkpoint", "checkpoints", e.checkpoint_share * e.step()}};
}

double expected_loss(const config::Parameters& p) {
  const auto architecture = model::Architecture::from(p.model);
  // The laws were fitted to dense models: of one with experts, to what a token meets.
  const std::int64_t parameters = p.loss_law.counts == "all"
                                      ? architecture.num_active_parameters()
                                      : architecture.num_active_parameters_without_embedding();
  return loss_law_of(p.loss_law)
      .loss(static_cast<double>(parameters),
            static_cast<double>(p.training.steps) * static_cast<double>(tokens_per_step(p)));
}

}  // namespace espalier::plan
