#pragma once
#include <string_view>

#include "config/parameters.hpp"

namespace espalier::plan {

/// Where the ranks of a group are.
struct GroupPlace {
  int ranks = 1;
  int per_node = 1;  ///< ranks of the group that share a node
  int nodes() const { return (ranks + per_node - 1) / per_node; }
};
/// A group of `ranks` whose neighbours are `stride` ranks of the job apart, on nodes that hold
/// devices_per_node consecutive ranks.
GroupPlace place_of(int ranks, int stride, const config::HardwareParameters& hardware);

/// Where the ranks of a group of communication are, by the name that StepCounts has for it.
GroupPlace place_of_group(std::string_view group, const config::Parameters& parameters,
                          const config::HardwareParameters& hardware);

/// GB/s of a large ring over the group: the bus bandwidth of nccl-tests, at which (n-1)/n of an
/// all-gather's or reduce-scatter's bytes pass. Between nodes all ranks of the group on a node send
/// at once, each by its own adapter, and the ring within the node limits them. Throws Error
/// (bad_configuration) naming the link whose bandwidth is missing.
double ring_gbs(const GroupPlace& place, const config::HardwareParameters& hardware);

/// Seconds of `calls` collectives of `bytes` together, the whole tensors'.
///   all_gather, reduce_scatter  (n-1)/n bytes / ring + steps of the ring
///   all_reduce                  twice that; small ones by a tree, 2 log2(n) steps
///   broadcast                   bytes / ring + steps
///   exchange_rows               as exchange_seconds
/// or, where it is faster, with log2(n) steps at the rate of one adapter (NCCL's PAT). Names are
/// those of CountingCommunicator; "... of values" and "... of counts" are latency alone.
double collective_seconds(std::string_view collective, double bytes, double calls,
                          const GroupPlace& place, const config::HardwareParameters& hardware);

/// Seconds of `calls` exchanges in which a rank sends `bytes` together, an even share to every rank
/// of the group: (per_node - 1)/n of them over the links of its node, (n - per_node)/n at the same
/// time by its own adapter. How uneven routing is no plan knows.
double exchange_seconds(double bytes, double calls, const GroupPlace& place,
                        const config::HardwareParameters& hardware);

/// Seconds of a message to a neighbour that is `stride` ranks away.
double message_seconds(double bytes, int stride, const config::HardwareParameters& hardware);

}  // namespace espalier::plan
