#pragma once
#include "config/parameters.hpp"
#include "parallel/comm/session.hpp"

namespace espalier::bench {

/// This machine, with the ranks and threads of the job, as a device of `espalier plan`: whole steps
/// of calibration_inputs, timed operation by operation where they run, with what is in caches there
/// and what the other ranks do at the same time. To each operation of each dtype its rate is
/// fitted (plan/time/host_operator.hpp). What a step takes beside its operations is its factor.
/// Of `asked` its [device] and [bench] count. Takes one to two minutes. Collective; throws Error
/// (bad_configuration, met by every rank) when the ranks are on several machines.
config::HardwareParameters measure_host(parallel::MpiSession& session,
                                        const config::Parameters& asked);

}  // namespace espalier::bench
