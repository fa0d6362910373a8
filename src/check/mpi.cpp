#include <algorithm>
#include <map>
#include <set>

#include "base/host_loops.hpp"
#include "check/cores.hpp"
#include "check/job.hpp"
#include "parallel/comm/thread_level.hpp"

namespace espalier::check {
namespace {

Finding judge_hosts(const std::vector<std::string>& hosts) {
  std::map<std::string, int> ranks_of;
  for (const std::string& host : hosts) ++ranks_of[host];
  std::set<int> counts;
  std::string list;
  for (const auto& [host, count] : ranks_of) {
    counts.insert(count);
    if (list.size() < 300) list += fmt::format("{}{} x {}", list.empty() ? "" : ", ", count, host);
  }
  const std::string text = fmt::format("{} on {}: {}", counted(std::ssize(hosts), "rank"),
                                       counted(std::ssize(ranks_of), "host"), list);
  if (counts.size() == 1) return ok("ranks", text);
  return warning("ranks", text + "; hosts with more ranks keep the others waiting",
                 "as many ranks on each host: srun --ntasks-per-node, mpirun --map-by ppr:N:node");
}

/// Tensor groups exchange activations in every layer: they belong on one host.
Finding judge_tensor_groups(const Job& job) {
  const auto tensor = static_cast<std::size_t>(job.parameters.parallel.tensor);
  for (std::size_t first = 0; first + tensor <= job.hosts.size(); first += tensor) {
    const auto begin = job.hosts.begin() + static_cast<std::ptrdiff_t>(first);
    if (std::all_of(begin, begin + static_cast<std::ptrdiff_t>(tensor),
                    [&](const std::string& host) { return host == *begin; }))
      continue;
    return warning("tensor groups",
                   fmt::format("ranks {}-{} are a tensor group over several hosts, from {} on: "
                               "every layer waits for the network",
                               first, first + tensor - 1, *begin),
                   "a number of ranks per host that parallel.tensor divides, and consecutive ranks "
                   "on each host (srun --distribution=block)");
  }
  return ok("tensor groups", "each on one host");
}

}  // namespace

std::vector<Finding> check_mpi(Job& job) {
  std::vector<Finding> findings;
  parallel::MpiSession& session = job.session;
  // Two versions in one job are a mistake of modules or containers.
  const std::string version = parallel::MpiSession::library_version();
  const std::vector<std::string> versions = session.world().all_gather(version);
  const auto other = std::find_if(versions.begin(), versions.end(),
                                  [&](const std::string& v) { return v != versions.front(); });
  if (other == versions.end()) {
    findings.push_back(
        ok("library", fmt::format("{}, threads: {}", version, parallel::thread_level())));
  } else {
    const auto rank = static_cast<std::size_t>(other - versions.begin());
    findings.push_back(
        warning("library",
                fmt::format("rank 0 on {} has {}, rank {} on {} has {}", job.hosts.front(),
                            versions.front(), rank, job.hosts[rank], *other),
                "the same modules, or the same container, on all nodes"));
  }
  findings.push_back(judge_hosts(job.hosts));
  if (job.is_resolved && job.parameters.parallel.tensor > 1)
    findings.push_back(judge_tensor_groups(job));
  const std::vector<std::string> cores = session.world().all_gather(list_text(own_cores()));
  const std::vector<double> threads =
      session.world().all_gather(static_cast<double>(num_host_threads()));
  std::vector<RankCores> ranks;
  for (std::size_t rank = 0; rank < cores.size(); ++rank)
    ranks.push_back({job.hosts[rank], cores_of_list(cores[rank]), static_cast<int>(threads[rank])});
  for (Finding& finding : judge_cores(ranks)) findings.push_back(std::move(finding));
  return findings;
}

}  // namespace espalier::check
