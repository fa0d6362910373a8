#include "plan/time/collective_time.hpp"

#include <algorithm>
#include <cmath>

#include "base/error.hpp"
#include "parallel/comm/session.hpp"

namespace espalier::plan {
namespace {

double needed(double value, std::string_view key, const config::HardwareParameters& hardware) {
  if (value <= 0.0)
    throw Error(ExitStatus::bad_configuration,
                fmt::format("hardware.{} is not set for {}: more than one rank needs it", key,
                            hardware.name.empty() ? "this device" : hardware.name),
                Met::by_every_rank);
  return value;
}

}  // namespace

RankGroup group_of(const std::string& name, const parallel::ProcessGrid& grid) {
  using parallel::Span;
  const auto of = [&](Span span) {
    const std::vector<int> ranks = grid.group(span);
    return RankGroup{.size = std::ssize(ranks),
                     .stride = ranks.size() > 1 ? ranks[1] - ranks[0] : 1};
  };
  if (name.starts_with("tensor") && !name.starts_with("tensor x")) return of(Span::tensor);
  for (const Span span : {Span::tokens_shared, Span::kv_tokens, Span::tokens})
    if (name == parallel::gradient_group_name(span)) return of(span);
  return of(Span::world);
}

double collective_seconds(std::string_view collective, double bytes, RankGroup group,
                          const config::HardwareParameters& hardware) {
  if (group.size <= 1) return 0.0;
  const std::int64_t per_node =
      std::clamp<std::int64_t>(hardware.devices_per_node / group.stride, 1, group.size);
  const double nodes = std::ceil(static_cast<double>(group.size) / static_cast<double>(per_node));
  double bandwidth = 0.0, latency = 0.0;
  if (per_node > 1) {
    bandwidth = hardware.link_bus_gbs > 0.0 ? hardware.link_bus_gbs
                                            : needed(hardware.link_gbs, "link_gbs", hardware);
    latency = static_cast<double>(per_node - 1) * hardware.link_latency_us;
  }
  if (nodes > 1.0) {
    const double network =
        static_cast<double>(per_node) * needed(hardware.network_gbs, "network_gbs", hardware);
    bandwidth = bandwidth > 0.0 ? std::min(bandwidth, network) : network;
    latency += std::ceil(std::log2(nodes)) * hardware.network_latency_us;
  }
  const auto n = static_cast<double>(group.size);
  const double once = 1e-6 * latency + (n - 1.0) / n * bytes / (1e9 * bandwidth);
  return collective.starts_with("all_reduce") ? 2.0 * once : once;
}

}  // namespace espalier::plan
