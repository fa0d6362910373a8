#include <sys/resource.h>

#include <array>
#include <initializer_list>
#include <optional>
#include <span>

#include "base/log.hpp"
#include "base/text.hpp"
#include "bench/job.hpp"
#include "bench/pipeline_bubble.hpp"
#include "bench/steps.hpp"
#include "commands/banner.hpp"
#include "commands/bench_write.hpp"
#include "commands/commands.hpp"
#include "config/grid.hpp"
#include "parallel/comm/on_rank_0.hpp"
#include "plan/flops.hpp"
#include "plan/time/step_time.hpp"
#include "train/device_choice.hpp"
#include "train/progress.hpp"

namespace espalier::commands {
namespace {

double sum_over_ranks(parallel::MpiSession& session, double value) {
  std::array<double, 1> sum{value};
  session.world().all_reduce_sum(sum);
  return sum[0];
}

/// What the phases of the measured steps cost beside what they took, per step of this rank.
std::vector<bench::Timed> phases_of(const device::Profiler& profiler, std::int64_t steps) {
  const auto seconds = profiler.seconds();
  const auto costs = profiler.costs();
  std::vector<bench::Timed> rows;
  for (std::size_t i = 0; i < device::kNumPhases; ++i)
    if (seconds[i] > 0.0)
      rows.push_back({.name = std::string(device::name_of(static_cast<device::Phase>(i))),
                      .seconds = seconds[i] / static_cast<double>(steps),
                      .flops = costs[i].flops / static_cast<double>(steps),
                      .bytes = costs[i].bytes / static_cast<double>(steps)});
  return rows;
}

/// Largest resident size of this process so far.
double resident_bytes() {
  struct rusage usage {};
  getrusage(RUSAGE_SELF, &usage);
  return 1024.0 * static_cast<double>(usage.ru_maxrss);
}

/// Seconds of the phases of a measured step that plan::StepTime has as one.
double seconds_of(std::span<const bench::Timed> phases,
                  std::initializer_list<device::Phase> which) {
  double sum = 0.0;
  for (const bench::Timed& row : phases)
    for (const device::Phase phase : which)
      if (row.name == device::name_of(phase)) sum += row.seconds;
  return sum;
}

/// A planned step beside a measured one, part by part.
std::string beside_plan(const std::string& device, const plan::StepTime& plan,
                        std::span<const bench::Timed> phases) {
  using device::Phase;
  std::string text = fmt::format("a step of rank 0 beside its plan for {}\n  {:<24}{:>12} {:>12}",
                                 device, "", "measured ms", "planned ms");
  double measured = 0.0;
  const auto add = [&](const char* name, double planned, std::initializer_list<Phase> which) {
    const double seconds = seconds_of(phases, which);
    measured += seconds;
    if (seconds == 0.0 && planned == 0.0) return;
    text += fmt::format("\n  {:<24}{:>12.3f} {:>12.3f}", name, 1e3 * seconds, 1e3 * planned);
  };
  add("matrix products", plan.products, {Phase::projections, Phase::mlp, Phase::head});
  add("attention", plan.attention, {Phase::attention});
  add("memory-bound operators", plan.memory_bound,
      {Phase::embedding, Phase::norm, Phase::rope, Phase::activation, Phase::router, Phase::loss,
       Phase::optimizer, Phase::clipping, Phase::data});
  add("tensor communication", plan.tensor_exposed, {Phase::tensor_communication});
  add("context communication", plan.context_exposed, {Phase::context_communication});
  add("expert communication", plan.expert_exposed, {Phase::expert_communication});
  add("data communication", plan.data_exposed,
      {Phase::gradient_communication, Phase::weight_communication});
  add("pipeline communication", plan.bubble, {Phase::pipeline_communication});
  add("other", plan.other, {Phase::other});
  return text +
         fmt::format("\n  {:<24}{:>12.3f} {:>12.3f}", "all", 1e3 * measured, 1e3 * plan.step());
}

/// What the plan says beside what is taken.
std::string describe_memory(const bench::BenchJob& job) {
  const auto planned = static_cast<double>(job.model.memory.total_bytes());
  if (const device::Gpu* gpu = job.rank_context.context.gpu()) {
    const auto total = static_cast<double>(gpu->description().memory_bytes);
    return fmt::format("{} of its GPU as planned, {} of {} are taken", human_bytes(planned),
                       human_bytes(total - static_cast<double>(gpu->free_bytes())),
                       human_bytes(total));
  }
  const double resident = resident_bytes();
  return fmt::format(
      "arenas {} as planned, largest resident size {} (+{} for the program, libraries and staging)",
      human_bytes(planned), human_bytes(resident), human_bytes(resident - planned));
}

}  // namespace

// Whole training steps on random tokens, with everything a real step does but reading text.
ExitStatus bench(parallel::MpiSession& session, config::Parameters& parameters, bool dry_run) {
  if (!parameters.bench.write.empty()) return write_host(session, parameters, dry_run);
  const config::TrainingParameters& t = parameters.training;
  const parallel::GridShape shape = config::grid_shape(parameters);
  print_banner(session, parameters, shape);
  if (dry_run) {
    print_fit(session, parameters, shape);
    return ExitStatus::ok;
  }
  // Before anything is measured: a device that cannot be planned for ends the command here.
  std::vector<std::pair<std::string, plan::StepTime>> plans;
  parallel::on_rank_0(session, [&] {
    if (!parameters.plan.device.empty())
      for (const config::HardwareParameters& hardware : plan::hardware_of(parameters))
        plans.emplace_back(hardware.name, plan::predict_step(parameters, hardware));
    return std::string();
  });
  bench::BenchJob job(session, parameters);
  device::Context& context = job.rank_context.context;
  train::log_devices(session, job.rank_context, parameters.device);
  plan::TrainingMemory& memory = job.model.memory;
  const double step_tokens = static_cast<double>(t.global_batch_size * t.sequence_length);

  const double peak_before = sum_over_ranks(session, job.peaks.flops);
  const std::vector<double> seconds =
      bench::take_steps(session, job, [&](std::int64_t step, double loss, double elapsed) {
        log::info("step {:>3}  loss {:.5f}  {:.3f} s  {} tok/s{}", step, loss, elapsed,
                  with_commas(static_cast<std::int64_t>(step_tokens / elapsed)),
                  step <= parameters.bench.warmup_steps ? "  (warm-up)" : "");
      });
  log::info("{}", train::phase_table(context.profiler(), session.world()));
  const std::vector<bench::Timed> phases = phases_of(context.profiler(), parameters.bench.steps);
  // Other programs of a host come and go; a GPU is this job's, and may have no memory left for it.
  double peak_after = peak_before;
  if (context.on_host()) {
    session.world().barrier();
    peak_after = sum_over_ranks(session, context.measure_gemm_peak(memory.dtype, 1.0));
  }
  const double peak = 0.5 * (peak_before + peak_after);
  const bench::Peaks of_rank_0{.flops = peak / session.size(), .bytes = job.peaks.bytes};
  log::info("a step of rank 0 beside what its work costs at least\n{}",
            bench::roofline_table(phases, of_rank_0));
  log::info("{}", bench::largest_gaps(phases, of_rank_0));

  for (const auto& [device, planned] : plans) log::info("{}", beside_plan(device, planned, phases));
  std::optional<bench::PipelineBubble> bubble;
  if (shape.pipeline > 1 && context.on_host()) {
    bubble = bench::pipeline_bubble(session, job);
    log::info(
        "pipeline: the passes of the fastest step take {:.4f} s, and ranks wait for {:.1f} % of "
        "it; by the simulation of {} with the passes' own times {:.4f} s and {:.1f} %",
        bubble->passes_s, 100.0 * bubble->measured, parameters.parallel.schedule,
        bubble->simulated_s, 100.0 * bubble->simulated);
  }

  const double median = bench::median(seconds);
  const double rate = step_tokens / median;
  const plan::FlopsPerToken flops =
      plan::flops_per_token(memory.architecture, static_cast<double>(t.sequence_length));
  log::info("memory of rank 0: {}", describe_memory(job));
  std::array<double, 2> largest{static_cast<double>(memory.total_bytes()), resident_bytes()};
  session.world().all_reduce_max(largest);
  log::info("bench: arena_bytes {:.0f} (of the rank with most)", largest[0]);
  if (context.on_host())
    log::info("bench: resident_bytes {:.0f} (of the rank with most)", largest[1]);
  log::info("bench: dtype {}", t.dtype);
  log::info("bench: step_seconds_median {:.4f}", median);
  for (const auto& [device, planned] : plans)
    log::info("bench: planned_step_seconds {:.4f}", planned.step());
  log::info("bench: tokens_per_second {:.1f}", rate);
  if (bubble)
    log::info("bench: bubble {:.4f} (simulated {:.4f})", bubble->measured, bubble->simulated);
  log::info("bench: gemm_peak_gflops {:.1f} (before {:.1f}, after {:.1f})", peak * 1e-9,
            peak_before * 1e-9, peak_after * 1e-9);
  log::info("bench: gemm_share {:.4f} (causal attention), {:.4f} (full attention)",
            rate * flops.causal_attention / peak, rate * flops.full_attention / peak);
  return ExitStatus::ok;
}

}  // namespace espalier::commands
