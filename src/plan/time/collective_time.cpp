#include "plan/time/collective_time.hpp"

#include <algorithm>
#include <cmath>

#include "base/error.hpp"

namespace espalier::plan {
namespace {

/// NCCL's baseLat of a ring with protocol LL (src/graph/tuning.cc): what a collective takes before
/// its first step.
constexpr double kStartUs = 6.6;

double link_gbs(const config::HardwareParameters& h) {
  const double gbs = h.link_bus_gbs > 0 ? h.link_bus_gbs : h.link_gbs;
  if (!(gbs > 0))
    throw Error(ExitStatus::bad_configuration,
                fmt::format("hardware.link_gbs of {} is not known, and ranks of a node would send "
                            "to one another: give it (GB/s, one direction), or link_bus_gbs",
                            h.name),
                Met::by_every_rank);
  return gbs;
}

double network_gbs(const config::HardwareParameters& h) {
  const double gbs = h.network_bus_gbs > 0 ? h.network_bus_gbs : h.network_gbs;
  if (!(gbs > 0))
    throw Error(ExitStatus::bad_configuration,
                fmt::format("hardware.network_gbs of {} is not known, and the job has more ranks "
                            "than hardware.devices_per_node = {}: give it (GB/s of a device, one "
                            "direction), or network_bus_gbs",
                            h.name, h.devices_per_node),
                Met::by_every_rank);
  return gbs;
}

double log2_of(int n) {
  return std::ceil(std::log2(static_cast<double>(std::max(n, 1))));
}

}  // namespace

GroupPlace place_of(int ranks, int stride, const config::HardwareParameters& hardware) {
  const int per_node = std::max(1, static_cast<int>(hardware.devices_per_node) / stride);
  return {.ranks = ranks, .per_node = std::min(ranks, per_node)};
}

GroupPlace place_of_group(std::string_view group, const config::Parameters& p,
                          const config::HardwareParameters& h) {
  const auto tensor = static_cast<int>(p.parallel.tensor);
  const auto context = static_cast<int>(p.parallel.context);
  // Ranks of the context group divide gradients as data ranks do, and are their neighbours.
  const int data = context * static_cast<int>(p.parallel.data);
  if (group.starts_with("tensor (") || group == "tensor") return place_of(tensor, 1, h);
  if (group == "context") return place_of(context, tensor, h);
  if (group == "data") return place_of(data, tensor, h);
  if (group == "kv replicas x data") {
    // Consecutive tensor ranks hold the same heads.
    const int replicas = std::max(
        1, tensor / static_cast<int>(std::max<std::int64_t>(p.model.num_key_value_heads, 1)));
    GroupPlace place = place_of(data, tensor, h);
    place.ranks *= replicas;
    place.per_node = std::min(place.ranks, place.per_node * replicas);
    return place;
  }
  const auto expert = static_cast<int>(p.parallel.expert);
  const auto pipeline = static_cast<int>(p.parallel.pipeline);
  if (group == "expert") return place_of(expert, 1, h);
  if (group == "expert data") return place_of(tensor * data / expert, expert, h);
  if (group == "tied") return place_of(2, tensor * data * (pipeline - 1), h);
  if (group == "world") return place_of(tensor * data * pipeline, 1, h);
  return place_of(tensor * data, 1, h);
}

double exchange_seconds(double bytes, double calls, const GroupPlace& place,
                        const config::HardwareParameters& h) {
  if (place.ranks == 1 || calls <= 0) return 0.0;
  const double near = bytes * (place.per_node - 1) / place.ranks;
  const double far = bytes * (place.ranks - place.per_node) / place.ranks;
  const double seconds = std::max(near > 0.0 ? near / (link_gbs(h) * 1e9) : 0.0,
                                  far > 0.0 ? far / (network_gbs(h) * 1e9) : 0.0);
  const double latency_us = place.nodes() > 1 ? h.network_latency_us : h.link_latency_us;
  return seconds + calls * (kStartUs + latency_us) * 1e-6;
}

double ring_gbs(const GroupPlace& place, const config::HardwareParameters& hardware) {
  if (place.nodes() == 1) return link_gbs(hardware);
  const double adapters = place.per_node * network_gbs(hardware);
  return place.per_node == 1 ? adapters : std::min(link_gbs(hardware), adapters);
}

double collective_seconds(std::string_view collective, double bytes, double calls,
                          const GroupPlace& place, const config::HardwareParameters& h) {
  const int n = place.ranks, nodes = place.nodes();
  if (n == 1 || calls <= 0) return 0.0;
  if (collective == "exchange_rows") return exchange_seconds(bytes, calls, place, h);
  const double tree_us =
      log2_of(place.per_node) * h.link_latency_us + log2_of(nodes) * h.network_latency_us;
  if (collective.ends_with("of values") || collective.ends_with("of counts") ||
      collective == "barrier")
    return calls * (kStartUs + 2.0 * tree_us) * 1e-6;

  const double between = nodes > 1 ? nodes : 0;
  const double ring_us = (n - 1 - std::min<double>(between, n - 1)) * h.link_latency_us +
                         std::min<double>(between, n - 1) * h.network_latency_us;
  const bool twice = collective == "all_reduce";
  const double passes = twice ? 2.0 : 1.0;
  const double share = collective == "broadcast" ? 1.0 : static_cast<double>(n - 1) / n;
  const double moved = passes * share * bytes;
  const double by_ring =
      moved / (ring_gbs(place, h) * 1e9) + calls * (kStartUs + passes * ring_us) * 1e-6;
  const double one_gbs = nodes > 1 ? network_gbs(h) : link_gbs(h);
  const double by_tree = moved / (one_gbs * 1e9) + calls * (kStartUs + passes * tree_us) * 1e-6;
  return std::min(by_ring, by_tree);
}

double message_seconds(double bytes, int stride, const config::HardwareParameters& h) {
  const bool near = stride < h.devices_per_node;
  const double gbs = near ? link_gbs(h) : network_gbs(h);
  return bytes / (gbs * 1e9) +
         (kStartUs + (near ? h.link_latency_us : h.network_latency_us)) * 1e-6;
}

}  // namespace espalier::plan
