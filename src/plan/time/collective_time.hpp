#pragma once
#include <cstdint>
#include <string>
#include <string_view>

#include "config/parameters.hpp"
#include "parallel/layout/grid.hpp"

namespace espalier::plan {

/// Ranks that take part in a collective: how many, and how far apart neighbours are in the order
/// of ranks. Nodes hold consecutive ranks.
struct RankGroup {
  std::int64_t size = 1;
  std::int64_t stride = 1;
};

/// The ranks of the group that StepCounts::collectives calls so.
RankGroup group_of(const std::string& name, const parallel::ProcessGrid& grid);

/// Seconds of one collective of a group whose tensor has `bytes` in all (the whole result of an
/// all-gather, the whole operand of a reduce-scatter or an all-reduce): alpha-beta, of a ring
/// (Thakur et al. 2005; NCCL's bus bandwidth)
///   all_gather, reduce_scatter   rounds alpha + (n - 1) / n bytes / bandwidth
///   all_reduce                   twice that
/// Inside a node the bandwidth is link_bus_gbs (where not measured, link_gbs), and there are n - 1
/// rounds of link_latency_us. A group of g ranks per node on several nodes crosses the network once
/// per node: each of its members has a network adapter of its own, so that the ring goes at the
/// smaller of that and g network_bus_gbs (network_gbs); rounds are g - 1 inside a node and
/// log2(nodes) between them (trees, PAT). Throws Error (bad_configuration) where the hardware lacks
/// the link, and names the key.
double collective_seconds(std::string_view collective, double bytes, RankGroup group,
                          const config::HardwareParameters& hardware);

}  // namespace espalier::plan
