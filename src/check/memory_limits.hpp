#pragma once
#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <vector>

namespace espalier::check {

/// One of the bounds on what the processes of a job may take of a node's memory.
struct MemoryLimit {
  std::string whose;       ///< "MemAvailable of /proc/meminfo"
  std::int64_t bytes = 0;  ///< still free under it
};

/// MemAvailable in the text of /proc/meminfo; no limit where it is not there.
std::vector<MemoryLimit> limits_of_meminfo(std::string_view text);

/// memory.max (cgroup v2) or memory.limit_in_bytes (v1) of each group that `own` names (the text of
/// /proc/self/cgroup) and of those above it, below `root` (/sys/fs/cgroup), less what is in use
/// there; pages of files, which the kernel gives up, do not count as used.
std::vector<MemoryLimit> limits_of_cgroups(const std::filesystem::path& root, std::string_view own);

/// SLURM_MEM_PER_NODE, or SLURM_MEM_PER_CPU times SLURM_CPUS_ON_NODE, in MiB; null: not set.
/// 0 means all of the node.
std::vector<MemoryLimit> limits_of_slurm(const char* per_node, const char* per_cpu,
                                         const char* cpus);

/// The narrowest of all of these here; nothing known: no limit.
std::vector<MemoryLimit> limits_here();

}  // namespace espalier::check
