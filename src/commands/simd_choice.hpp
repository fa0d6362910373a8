#pragma once
#include <span>
#include <string>

#include "base/simd/level.hpp"
#include "config/parameters.hpp"
#include "parallel/comm/session.hpp"

namespace espalier::commands {

/// Host operators and the library of matrix products run at the SIMD level of device.simd from now
/// on; "auto" is the best level that every rank's processor has, because results differ between
/// levels by rounding and ranks that hold the same weights must agree bit for bit. Collective;
/// before anything is computed. Throws Error (bad_configuration, met by every rank) when a rank's
/// processor has not the level that is asked for.
void choose_simd_level(parallel::MpiSession& session, const config::DeviceParameters& parameters);

/// Why the level in force is not the best of this job's processors: "SIMD level avx2: rank 3 on
/// node07 has no better one, rank 0 has avx512_bf16". Empty when it is. Collective.
std::string why_not_better(parallel::MpiSession& session,
                           const config::DeviceParameters& parameters);

/// The text of why_not_better; `best` is the best level of each rank, `hosts` where they run.
std::string explain_simd_level(simd::Level in_force, const std::string& asked,
                               std::span<const simd::Level> best,
                               std::span<const std::string> hosts);

}  // namespace espalier::commands
