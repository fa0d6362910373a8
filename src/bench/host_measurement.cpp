#include "bench/host_measurement.hpp"

#include <unistd.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <utility>

#include "base/error.hpp"
#include "base/host_loops.hpp"
#include "base/log.hpp"
#include "base/simd/level.hpp"
#include "bench/calibration_inputs.hpp"
#include "bench/nonnegative_fit.hpp"
#include "bench/step_sample.hpp"
#include "config/grid.hpp"
#include "plan/step_counts.hpp"
#include "plan/time/host_operator.hpp"

namespace espalier::bench {
namespace {

/// All inputs are measured so often, minutes apart for the last and the next first: a machine that
/// others share is not equally fast all the time.
constexpr int kPasses = 2;
constexpr int kWarmupSteps = 1, kSteps = 2;
constexpr double kPeakSeconds = 0.7;

constexpr std::array kCommunication = {device::Phase::tensor_communication,
                                       device::Phase::gradient_communication,
                                       device::Phase::weight_communication};

double sum(const std::array<double, kCommunication.size()>& values) {
  double result = 0.0;
  for (const double value : values) result += value;
  return result;
}

/// A step of an input: what it took by operation and in collectives.
struct MeasuredStep {
  config::Parameters parameters;
  StepSample sample;

  std::array<double, kCommunication.size()> communication() const {
    std::array<double, kCommunication.size()> seconds{};
    for (std::size_t i = 0; i < kCommunication.size(); ++i)
      seconds[i] = sample.phase_seconds[static_cast<std::size_t>(kCommunication[i])];
    return seconds;
  }
};

/// The rates of the operations of these steps, which have one dtype.
std::vector<config::OperatorRate> operator_rates(const std::vector<MeasuredStep>& steps,
                                                 const std::string& dtype) {
  struct Group {
    plan::HostCall call;
    std::vector<FitPoint> points;
  };
  std::map<std::string, Group> groups;
  for (const MeasuredStep& step : steps)
    for (const auto& [operation, seconds] : step.sample.operation_seconds) {
      const device::PhaseCost& cost = step.sample.costs.at(operation);
      const plan::HostCall call = plan::call_of(operation, cost, step.parameters);
      Group& group = groups[call.name];
      group.call = call;
      if (seconds > 0.0)
        group.points.push_back({plan::terms_of(call), seconds / static_cast<double>(cost.calls)});
    }
  std::vector<config::OperatorRate> rates;
  for (const auto& [name, group] : groups)
    if (!group.points.empty())
      rates.push_back(plan::rate_of(group.call, dtype, fit_nonnegative(group.points)));
  return rates;
}

/// Bytes per second of a collective whose fit found no time that grows with the bytes, as noise may
/// have it on a busy machine: it is as fast as the fastest of its points, or faster.
double fastest_rate(const std::vector<FitPoint>& points) {
  double fastest = 0.0;
  for (const FitPoint& point : points) fastest = std::max(fastest, point.terms[1] / point.value);
  return fastest;
}

/// The rates of the collectives, by phase: of the bytes that a ring passes on, (n - 1) / n of all.
std::vector<config::OperatorRate> collective_rates(const std::vector<MeasuredStep>& steps,
                                                   const std::string& dtype, int num_ranks) {
  std::array<std::vector<FitPoint>, kCommunication.size()> points;
  const double passed = (num_ranks - 1.0) / num_ranks;
  for (const MeasuredStep& step : steps) {
    const config::Parameters& p = step.parameters;
    const plan::StepCounts counts = plan::count_step(p, {config::grid_shape(p), 0});
    std::array<double, kCommunication.size()> calls{}, bytes{};
    for (const auto& [group, costs] : counts.collectives)
      for (const auto& [collective, cost] : costs) {
        if (group == "world") continue;
        const std::size_t phase = group == "tensor" ? 0 : collective == "all_gather" ? 2 : 1;
        calls[phase] += static_cast<double>(cost.calls);
        bytes[phase] += static_cast<double>(cost.bytes);
      }
    const auto seconds = step.communication();
    for (std::size_t i = 0; i < points.size(); ++i)
      if (calls[i] > 0.0 && seconds[i] > 0.0)
        points[i].push_back({{calls[i], passed * bytes[i]}, seconds[i]});
  }
  std::vector<config::OperatorRate> rates;
  for (std::size_t i = 0; i < points.size(); ++i) {
    if (points[i].empty()) continue;
    const std::vector<double> fit = fit_nonnegative(points[i]);
    rates.push_back({.name = std::string(device::name_of(kCommunication[i])),
                     .gbs = 1e-9 * (fit[1] > 0.0 ? 1.0 / fit[1] : fastest_rate(points[i])),
                     .overhead_us = 1e6 * fit[0],
                     .dtype = dtype});
  }
  return rates;
}

/// A whole step, without its collectives, over the sum of its operations at these rates.
double step_factor(const std::vector<MeasuredStep>& steps,
                   const std::vector<config::OperatorRate>& rates) {
  std::vector<double> factors;
  for (const MeasuredStep& step : steps) {
    double operations = 0.0;
    for (const auto& [operation, cost] : step.sample.costs) {
      const plan::HostCall call = plan::call_of(operation, cost, step.parameters);
      for (const config::OperatorRate& rate : rates)
        if (rate.name == call.name && rate.dtype == step.parameters.training.dtype)
          operations += static_cast<double>(cost.calls) * plan::seconds_of(call, rate);
    }
    factors.push_back((step.sample.seconds - sum(step.communication())) / operations);
  }
  std::sort(factors.begin(), factors.end());
  return std::max(1.0, factors[factors.size() / 2]);
}

std::string processor_name() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);)
    if (line.starts_with("model name")) {
      const std::size_t begin = line.find(": ");
      if (begin != std::string::npos) return line.substr(begin + 2);
    }
  return "host";
}

void require_one_machine(parallel::MpiSession& session) {
  const std::vector<std::string> hosts = session.host_names();
  for (const std::string& host : hosts)
    if (host != hosts.front())
      throw Error(ExitStatus::bad_configuration,
                  fmt::format("bench.write measures one machine, but ranks are on {} and {}: start "
                              "the ranks of one node",
                              hosts.front(), host),
                  Met::by_every_rank);
}

/// Six digits: more are noise, and a person reads them.
double rounded(double value) {
  return std::stod(fmt::format("{:.4g}", value));
}

void round_figures(config::HardwareParameters& hardware) {
  const auto round_all = [](auto& table) {
    std::decay_t<decltype(table)>::describe(table, [](const config::Field&, auto& value) {
      if constexpr (std::is_same_v<std::decay_t<decltype(value)>, double>) value = rounded(value);
    });
  };
  round_all(hardware);
  for (config::OperatorRate& rate : hardware.operators) round_all(rate);
}

}  // namespace

config::HardwareParameters measure_host(parallel::MpiSession& session,
                                        const config::Parameters& asked) {
  require_one_machine(session);
  config::HardwareParameters hardware;
  hardware.kind = "cpu";
  hardware.simd = std::string(simd::name_of(simd::level()));
  hardware.multiprocessors = num_host_threads();
  hardware.devices_per_node = session.size();
  hardware.name = fmt::format("{}, {} rank{} of {} thread{}, {}", processor_name(), session.size(),
                              session.size() == 1 ? "" : "s", num_host_threads(),
                              num_host_threads() == 1 ? "" : "s", hardware.simd);
  hardware.memory_gib = static_cast<double>(sysconf(_SC_PHYS_PAGES)) *
                        static_cast<double>(sysconf(_SC_PAGESIZE)) / 1073741824.0 / session.size();

  std::map<std::string, std::vector<MeasuredStep>> steps;  // by dtype
  for (int pass = 1; pass <= kPasses; ++pass)
    for (const char* dtype : {"bfloat16", "float32"}) {
      log::info("pass {} of {}, {}", pass, kPasses, dtype);
      for (config::Parameters& p : calibration_inputs(dtype, session.size(), asked)) {
        // Where tensor ranks are, the operations are those of a narrower model: once is enough.
        if (pass > 1 && p.parallel.tensor > 1) continue;
        StepSample sample = sample_step(session, p, kWarmupSteps, kSteps, /*by_operation=*/true);
        steps[dtype].push_back({std::move(p), std::move(sample)});
      }
    }

  std::vector<MeasuredStep> all;
  for (const auto& [dtype, measured] : steps) {
    for (const auto& rates :
         {operator_rates(measured, dtype), collective_rates(measured, dtype, session.size())})
      hardware.operators.insert(hardware.operators.end(), rates.begin(), rates.end());
    all.insert(all.end(), measured.begin(), measured.end());
  }
  hardware.step_factor = step_factor(all, hardware.operators);

  train::RankContext rank_context(session, all.front().parameters);
  const auto peak = [&](DType dtype) {
    session.world().barrier();
    return 1e-12 * rank_context.context.measure_gemm_peak(dtype, kPeakSeconds);
  };
  hardware.product_bf16_tflops = peak(DType::bf16);
  hardware.product_fp32_tflops = peak(DType::f32);
  // No data sheet: MFU is the share of what the machine's own products reach.
  hardware.peak_bf16_tflops = hardware.product_bf16_tflops;
  hardware.peak_fp32_tflops = hardware.product_fp32_tflops;
  session.world().barrier();
  hardware.copy_gbs = 1e-9 * measure_copy_peak(rank_context.context, kPeakSeconds);
  for (const config::OperatorRate& rate : hardware.operators)
    if (rate.name == "tensor communication" && rate.dtype == "float32") {
      hardware.link_gbs = hardware.link_bus_gbs = rate.gbs;
      hardware.link_latency_us = rate.overhead_us;
    }
  round_figures(hardware);
  return hardware;
}

}  // namespace espalier::bench
