// espalier bench scaling: steps of training on more and more ranks of one job, as measured and as
// planned.
#include <algorithm>
#include <array>
#include <cmath>
#include <limits>
#include <memory>
#include <optional>

#include "base/lines_to_stderr.hpp"
#include "base/log.hpp"
#include "bench/steps.hpp"
#include "commands/banner.hpp"
#include "commands/bench_scaling_output.hpp"
#include "commands/commands.hpp"
#include "io/output_file.hpp"
#include "parallel/comm/on_rank_0.hpp"
#include "plan/time/step_time.hpp"
#include "train/device_choice.hpp"

namespace espalier::commands {
namespace {

using bench::LeftOut;
using bench::ScalingCase;
using bench::ScalingPoint;
using report::Format;

void say_left_out(const LeftOut& left) {
  log::info("{} rank{}: left out: {}", left.ranks, left.ranks == 1 ? "" : "s", left.why);
}

/// Whatever can be said of a case before it is measured.
ScalingPoint unmeasured(const ScalingCase& of, const std::vector<std::string>& hosts,
                        std::size_t num_devices) {
  const config::TrainingParameters& t = of.parameters.training;
  return {.ranks = of.ranks,
          .nodes = hosts.empty() ? 0 : bench::num_nodes(hosts, of.ranks),
          .global_batch_size = t.global_batch_size,
          .tokens = static_cast<double>(t.global_batch_size * t.sequence_length),
          .planned_s = std::vector<double>(num_devices, ScalingPoint::kUnknown)};
}

/// The plans of rank 0. A host's figures are for the ranks that it was measured with: numbers that
/// it says nothing about stay without a plan, but of each device there must be one.
void plan_points(std::vector<ScalingPoint>& points, const std::vector<ScalingCase>& cases,
                 const std::vector<config::HardwareParameters>& devices) {
  for (std::size_t d = 0; d < devices.size(); ++d) {
    std::optional<Error> problem;
    bool any = false;
    for (std::size_t i = 0; i < cases.size(); ++i) try {
        points[i].planned_s[d] = plan::predict_step(cases[i].parameters, devices[d]).step();
        any = true;
      } catch (const Error& error) {
        problem = error;
        log::info("{} rank{}: no plan: {}", cases[i].ranks, cases[i].ranks == 1 ? "" : "s",
                  error.what());
      }
    if (!any) throw Error(*problem);
  }
}

/// Steps on all ranks of `session`; what the job's rank 0 learns of them. Collective.
void measure(parallel::MpiSession& session, const config::Parameters& p, ScalingPoint& point) {
  bench::BenchJob job(session, p, bench::Peaks{});
  const std::vector<double> here =
      bench::take_steps(session, job, [&](std::int64_t step, double loss, double seconds) {
        log::info("{} rank{}, step {:>3}  loss {:.5f}  {:.4f} s{}", session.size(),
                  session.size() == 1 ? "" : "s", step, loss, seconds,
                  step <= p.bench.warmup_steps ? "  (warm-up)" : "");
      });
  const auto phases = job.rank_context.context.profiler().seconds();
  std::array<double, 2> sums{};
  for (const device::Phase phase :
       {device::Phase::tensor_communication, device::Phase::context_communication,
        device::Phase::expert_communication, device::Phase::pipeline_communication,
        device::Phase::gradient_communication, device::Phase::weight_communication})
    sums[0] += phases[static_cast<std::size_t>(phase)];
  for (const double seconds : here) sums[1] += seconds;
  session.world().all_reduce_sum(sums);
  std::vector<double> slowest = here;
  session.world().all_reduce_max(slowest);
  point.communication = sums[0] / sums[1];
  point.step_s = bench::median(slowest);
  point.least_s = *std::min_element(slowest.begin(), slowest.end());
  point.most_s = *std::max_element(slowest.begin(), slowest.end());
}

/// Measures one case on the first ranks of the job; why it cannot be, on every rank (collective).
std::string measure_first_ranks(parallel::MpiSession& session, const ScalingCase& of,
                                ScalingPoint& point) {
  std::optional<Error> problem;
  {
    const std::unique_ptr<parallel::MpiSession> first = session.first_ranks(of.ranks);
    // An error of one rank alone ends the job from there, as anywhere.
    if (first != nullptr) try {
        measure(*first, of.parameters, point);
      } catch (const Error& error) {
        if (error.met() != Met::by_every_rank) throw;
        problem = error;
      }
  }
  session.wait_asleep();
  return parallel::on_rank_0(session, [&] {
    if (problem && problem->status() != ExitStatus::bad_configuration) throw Error(*problem);
    return problem ? std::string(problem->what()) : std::string();
  });
}

/// Writes the chart before it says anything: a table that stands there is whole.
void show(const config::Parameters& p, const std::vector<ScalingPoint>& points,
          const std::vector<std::string>& devices, Format format,
          std::optional<log::LinesToStandardError>& aside) {
  if (!p.bench.plot.empty() && !points.empty() && !std::isnan(points.front().step_s)) {
    std::string title =
        fmt::format("{}: {} scaling, {} sequences of {} tokens", p.run.name, p.bench.scaling,
                    points.front().global_batch_size, p.training.sequence_length);
    if (p.bench.scaling == "weak")
      title +=
          fmt::format(" on {} rank{}", points.front().ranks, points.front().ranks == 1 ? "" : "s");
    report::write_svg(p.bench.plot, scaling_chart(points, devices, title).svg());
    log::info("picture: {}", p.bench.plot);
  }
  std::string text = scaling_table(points, devices).print(format);
  text.erase(text.find_last_not_of('\n') + 1);
  aside.reset();
  log::line(text);
}

}  // namespace

ExitStatus bench_scaling(parallel::MpiSession& session, config::Parameters& p, bool dry_run) {
  const Format format = report::format_from_name(p.plan.format);
  std::optional<log::LinesToStandardError> aside;
  if (format != Format::text) aside.emplace();
  if (!p.bench.plot.empty())
    parallel::on_rank_0(session, [&] {
      io::require_new_output(p.bench.plot, "bench.plot");
      return std::string();
    });
  // On one process a dry run is of whatever ranks are named.
  const bool any_ranks = dry_run && session.size() == 1;
  std::int64_t num_ranks = any_ranks ? config::declared_ranks(p) : session.size();
  if (any_ranks)
    for (const std::int64_t ranks : p.bench.ranks) num_ranks = std::max(num_ranks, ranks);
  num_ranks = std::min<std::int64_t>(num_ranks, std::numeric_limits<int>::max());
  const bench::ScalingCases wanted = bench::scaling_cases(p, static_cast<int>(num_ranks));
  const std::vector<std::string> hosts =
      any_ranks ? std::vector<std::string>() : session.host_names();
  print_job(session, p, train::choose_backend(session, p.device));
  for (const LeftOut& left : wanted.left_out) say_left_out(left);

  std::vector<ScalingPoint> points;
  std::vector<std::string> devices;
  // Before anything is measured: a device that cannot be planned for ends the command here.
  parallel::on_rank_0(session, [&] {
    std::vector<config::HardwareParameters> hardware;
    if (!p.plan.device.empty()) hardware = plan::hardware_of(p);
    for (const config::HardwareParameters& device : hardware) devices.push_back(device.name);
    for (const ScalingCase& of : wanted.cases)
      points.push_back(unmeasured(of, hosts, hardware.size()));
    plan_points(points, wanted.cases, hardware);
    return std::string();
  });
  if (dry_run) {
    if (session.rank() == 0) show(p, points, devices, format, aside);
    return ExitStatus::ok;
  }

  std::vector<ScalingPoint> measured;
  for (std::size_t i = 0; i < wanted.cases.size(); ++i) {
    ScalingPoint point = session.rank() == 0 ? points[i] : ScalingPoint{};
    const std::string why = measure_first_ranks(session, wanted.cases[i], point);
    if (why.empty())
      measured.push_back(point);
    else
      say_left_out({wanted.cases[i].ranks, why});
  }
  if (measured.empty())
    throw Error(ExitStatus::bad_configuration,
                "none of the numbers of ranks could be measured; what is said of each above says "
                "why",
                Met::by_every_rank);
  parallel::on_rank_0(session, [&] {
    show(p, measured, devices, format, aside);
    return std::string();
  });
  return ExitStatus::ok;
}

}  // namespace espalier::commands
