#pragma once
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "check/finding.hpp"

namespace espalier::check {

/// What one rank may compute on.
struct RankCores {
  std::string host;
  std::vector<int> cores;  ///< that the kernel lets it run on, ascending
  int threads = 1;         ///< host threads (OMP_NUM_THREADS)
};

/// Of this process: its cores, as sched_getaffinity says.
std::vector<int> own_cores();

/// "0-3,8" and back, as Linux writes lists of processors. Ascending.
std::string list_text(std::span<const int> cores);
std::vector<int> cores_of_list(std::string_view text);

/// Whether the ranks of each host have cores of their own, and as many as threads: one finding for
/// the binding, one for the number of threads.
std::vector<Finding> judge_cores(std::span<const RankCores> ranks);

}  // namespace espalier::check
