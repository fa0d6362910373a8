#pragma once
#include <cstdint>
#include <filesystem>
#include <span>
#include <string>
#include <vector>

#include "config/parameters.hpp"
#include "io/run_tables.hpp"

namespace espalier::train {

/// What can be replayed of a run: on rank 0, which reads its directory.
struct ReplayPlan {
  /// The input of the steps, with verify.from and verify.steps as they are to be replayed and
  /// output.directory the run directory. Not resolved: parallel.data is what the job has.
  config::Parameters parameters;
  std::string recorded_grid;         ///< of those steps; empty: unknown
  std::string recorded_simd;         ///< level of the job that wrote the checkpoint; empty: unknown
  std::vector<std::string> remarks;  ///< why it is not what one might expect, a sentence each
};

/// The replay of `verify.steps` steps from the checkpoint of verify.from, or from the one that its
/// meaning names. `asked`: [verify] counts. The input is that of the checkpoint or, where a job
/// continued it with another one, of that job. The replay ends before a job with another grid or
/// another course. Throws Error (bad_data): no such checkpoint, or no recorded step behind it.
ReplayPlan plan_replay(const std::filesystem::path& run_directory,
                       const config::VerifyParameters& asked);

/// The folder of a step in a run directory.
std::filesystem::path checkpoint_of_step(const std::filesystem::path& run_directory,
                                         std::int64_t step);

}  // namespace espalier::train
