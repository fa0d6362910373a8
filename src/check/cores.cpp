#include "check/cores.hpp"

#include <sched.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <memory>
#include <set>

namespace espalier::check {
namespace {

using Members = std::vector<std::size_t>;  // ranks of a host, ascending

std::map<std::string, Members> hosts_of(std::span<const RankCores> ranks) {
  std::map<std::string, Members> hosts;
  for (std::size_t rank = 0; rank < ranks.size(); ++rank) hosts[ranks[rank].host].push_back(rank);
  return hosts;
}

/// Two ranks of a host that may run on the same cores, and these; nothing: there are none.
struct Overlap {
  std::size_t first = 0, second = 0;
  std::vector<int> cores;
};
Overlap first_overlap(std::span<const RankCores> ranks, const Members& members) {
  std::map<int, std::size_t> owners;
  for (const std::size_t rank : members)
    for (const int core : ranks[rank].cores)
      if (const auto [owner, is_new] = owners.emplace(core, rank); !is_new) {
        Overlap overlap{owner->second, rank, {}};
        std::set_intersection(ranks[overlap.first].cores.begin(), ranks[overlap.first].cores.end(),
                              ranks[rank].cores.begin(), ranks[rank].cores.end(),
                              std::back_inserter(overlap.cores));
        return overlap;
      }
  return {};
}

Finding judge_binding(std::span<const RankCores> ranks,
                      const std::map<std::string, Members>& hosts) {
  std::string text;
  std::size_t num_hosts = 0;
  for (const auto& [host, members] : hosts) {
    const Overlap overlap = first_overlap(ranks, members);
    if (overlap.cores.empty()) continue;
    if (num_hosts++ == 0)
      text = fmt::format("ranks {} and {} on {} may both run on cores {}", overlap.first,
                         overlap.second, host, list_text(overlap.cores));
  }
  if (num_hosts == 0)
    return ok("binding", ranks.size() == 1 ? fmt::format("the rank may run on cores {}",
                                                         list_text(ranks.front().cores))
                                           : "each rank has cores of its own");
  if (num_hosts > 1) text += fmt::format(", and so on {} other hosts", num_hosts - 1);
  const int threads = ranks.front().threads;
  return warning(
      "binding", text,
      fmt::format("bind ranks to cores of their own: srun --cpus-per-task={} --cpu-bind=cores, "
                  "or mpirun --map-by slot:PE={} --bind-to core",
                  threads, threads));
}

Finding judge_threads(std::span<const RankCores> ranks,
                      const std::map<std::string, Members>& hosts) {
  std::string text;
  int fitting = 0;
  for (const auto& [host, members] : hosts) {
    std::set<int> cores;
    int threads = 0;
    for (const std::size_t rank : members) {
      cores.insert(ranks[rank].cores.begin(), ranks[rank].cores.end());
      threads += ranks[rank].threads;
    }
    const int num_cores = static_cast<int>(cores.size());
    if (text.empty() && threads > num_cores) {
      text = fmt::format("{} threads of {} rank{} on {} cores of {}", threads, members.size(),
                         members.size() == 1 ? "" : "s", num_cores, host);
      fitting = std::max(num_cores / static_cast<int>(members.size()), 1);
    }
    if (!text.empty()) continue;
    for (const std::size_t rank : members)
      if (ranks[rank].threads > static_cast<int>(ranks[rank].cores.size())) {
        text = fmt::format("rank {} on {} has {} threads and may run on cores {} alone", rank, host,
                           ranks[rank].threads, list_text(ranks[rank].cores));
        fitting = static_cast<int>(ranks[rank].cores.size());
        break;
      }
  }
  if (text.empty()) {
    const int threads = ranks.front().threads;
    return ok("threads", fmt::format("{} thread{} per rank", threads, threads == 1 ? "" : "s"));
  }
  return warning("threads", text + ": they wait for one another",
                 fmt::format("OMP_NUM_THREADS={}, fewer ranks per node, or more cores per rank "
                             "(srun --cpus-per-task)",
                             fitting));
}

}  // namespace

std::vector<int> own_cores() {
  // Larger than the kernel's own mask on any machine: it refuses a smaller one.
  constexpr int kMost = 8192;
  const std::unique_ptr<cpu_set_t, void (*)(cpu_set_t*)> set(CPU_ALLOC(kMost),
                                                             [](cpu_set_t* s) { CPU_FREE(s); });
  const std::size_t bytes = CPU_ALLOC_SIZE(kMost);
  CPU_ZERO_S(bytes, set.get());
  std::vector<int> cores;
  if (sched_getaffinity(0, bytes, set.get()) != 0) return cores;
  for (int core = 0; core < kMost; ++core)
    if (CPU_ISSET_S(static_cast<std::size_t>(core), bytes, set.get())) cores.push_back(core);
  return cores;
}

std::string list_text(std::span<const int> cores) {
  std::string text;
  for (std::size_t i = 0; i < cores.size();) {
    std::size_t last = i;
    while (last + 1 < cores.size() && cores[last + 1] == cores[last] + 1) ++last;
    text += fmt::format("{}{}", text.empty() ? "" : ",", cores[i]);
    if (last > i) text += fmt::format("-{}", cores[last]);
    i = last + 1;
  }
  return text;
}

std::vector<int> cores_of_list(std::string_view text) {
  std::vector<int> cores;
  while (!text.empty()) {
    const std::string_view part = text.substr(0, text.find(','));
    text.remove_prefix(std::min(part.size() + 1, text.size()));
    int first = 0;
    const auto [rest, error] = std::from_chars(part.data(), part.data() + part.size(), first);
    if (error != std::errc{}) continue;
    int last = first;
    if (rest != part.data() + part.size())
      std::from_chars(rest + 1, part.data() + part.size(), last);
    for (int core = first; core <= last; ++core) cores.push_back(core);
  }
  return cores;
}

std::vector<Finding> judge_cores(std::span<const RankCores> ranks) {
  const std::map<std::string, Members> hosts = hosts_of(ranks);
  return {judge_binding(ranks, hosts), judge_threads(ranks, hosts)};
}

}  // namespace espalier::check
