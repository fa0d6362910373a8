#include <string>
#include <string_view>

#include "base/error.hpp"
#include "plan/time/collective_time.hpp"
#include "plan/time/host_operator.hpp"
#include "plan/time/models.hpp"

namespace espalier::plan {
namespace {

using config::HardwareParameters;
using config::OperatorRate;
using config::Parameters;

const OperatorRate* find_rate(const HardwareParameters& hardware, std::string_view name,
                              std::string_view dtype) {
  for (const OperatorRate& rate : hardware.operators)
    if (rate.name == name && (rate.dtype.empty() || rate.dtype == dtype)) return &rate;
  return nullptr;
}

[[noreturn]] void fail_missing(const HardwareParameters& hardware, const std::string& what) {
  throw Error(ExitStatus::bad_configuration,
              fmt::format("{}: its [[hardware.operators]] have no {}; measure the host anew with "
                          "`espalier bench --write FILE`, with the number of ranks that it is to "
                          "have",
                          hardware.name.empty() ? "this host" : hardware.name, what),
              Met::by_every_rank);
}

double operation_seconds(const HostCall& call, const Parameters& p,
                         const HardwareParameters& hardware) {
  if (const OperatorRate* rate = find_rate(hardware, call.name, p.training.dtype))
    return seconds_of(call, *rate);
  if (call.is_product() || call.is_attention() || hardware.copy_gbs <= 0.0)
    fail_missing(hardware, fmt::format("\"{}\" for {}{}", call.name, p.training.dtype,
                                       hardware.copy_gbs > 0.0 ? "" : ", nor is copy_gbs set"));
  return call.bytes / (1e9 * hardware.copy_gbs);
}

/// The phase that a collective belongs to, as the profiler has it.
std::string phase_of(const std::string& group, std::string_view collective) {
  if (group == "tensor" || group == "tensor (overlap)") return "tensor communication";
  if (group == "context") return "context communication";
  if (group == "expert") return "expert communication";
  return collective.starts_with("all_gather") ? "weight communication" : "gradient communication";
}

double collective_seconds_of(std::string_view collective, const parallel::CollectiveCost& cost,
                             const std::string& phase, const GroupPlace& place, const Parameters& p,
                             const HardwareParameters& hardware) {
  const auto calls = static_cast<double>(cost.calls), bytes = static_cast<double>(cost.bytes);
  if (place.nodes() > 1) return collective_seconds(collective, bytes, calls, place, hardware);
  const OperatorRate* rate = find_rate(hardware, phase, p.training.dtype);
  // A benchmark of a dense model of short sequences has sent no rows to experts and gathered no
  // keys: they pass as pieces of a gradient do.
  if (rate == nullptr && (phase == "expert communication" || phase == "context communication"))
    rate = find_rate(hardware, "gradient communication", p.training.dtype);
  if (rate == nullptr || rate->gbs <= 0.0)
    fail_missing(hardware, fmt::format("gbs of \"{}\" for {}", phase, p.training.dtype));
  const auto n = static_cast<double>(place.ranks);
  const double passes = collective.starts_with("all_reduce") ? 2.0 : 1.0;
  return 1e-6 * calls * rate->overhead_us + passes * (n - 1.0) / n * bytes / (1e9 * rate->gbs);
}

}  // namespace

StepTime host_step_time(const StepCounts& counts, const Parameters& p,
                        const HardwareParameters& hardware) {
  if (p.device.simd != "auto" && !hardware.simd.empty() && p.device.simd != hardware.simd)
    throw Error(ExitStatus::bad_configuration,
                fmt::format("device.simd = \"{}\", but {} was measured with \"{}\": measure it "
                            "with `espalier bench --write FILE device.simd={}`",
                            p.device.simd, hardware.name, hardware.simd, p.device.simd),
                Met::by_every_rank);
  StepTime time;
  for (const auto& [operation, cost] : counts.operations) {
    const HostCall call = call_of(operation, cost, p);
    const double seconds = static_cast<double>(cost.calls) * operation_seconds(call, p, hardware);
    (call.is_product()     ? time.products
     : call.is_attention() ? time.attention
                           : time.memory_bound) += seconds;
  }
  time.other = (hardware.step_factor - 1.0) * time.step();

  for (const auto& [name, costs] : counts.collectives)
    for (const auto& [collective, cost] : costs) {
      if (name == "pipeline") continue;  // pipeline_time.hpp
      const std::string phase = phase_of(name, collective);
      const double seconds = collective_seconds_of(collective, cost, phase,
                                                   place_of_group(name, p, hardware), p, hardware);
      (name == "world"                   ? time.other
       : name == "context"               ? time.context_exposed
       : name == "expert"                ? time.expert_exposed
       : phase == "tensor communication" ? time.tensor_exposed
                                         : time.data_exposed) += seconds;
    }
  return time;
}

}  // namespace espalier::plan
