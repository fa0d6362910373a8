#pragma once
#include <string>
#include <vector>

#include "config/parameters.hpp"

namespace espalier::bench {

/// The inputs whose steps a host is measured by: small models of all families, of widths, lengths,
/// vocabularies and heads that span what hosts train, on `num_ranks` data ranks and, where they can
/// be divided so, on as many tensor ranks; with [device] of `asked`, and no more models than its
/// bench.write_models. Resolved.
std::vector<config::Parameters> calibration_inputs(const std::string& dtype, int num_ranks,
                                                   const config::Parameters& asked);

}  // namespace espalier::bench
