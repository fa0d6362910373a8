#include "train/device_choice.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <map>
#include <optional>
#include <set>

#include "base/error.hpp"
#include "base/integers.hpp"
#include "base/log.hpp"
#include "base/text.hpp"
#include "base/whole_file.hpp"

namespace espalier::train {
namespace {

using device::Backend;
using device::Gpu;

[[noreturn]] void refuse(const std::string& message) {
  throw Error(ExitStatus::bad_configuration, message, Met::by_every_rank);
}

/// The first rank that has something to complain about, with its complaint.
struct Complaint {
  int rank = -1;
  std::string text;
};
std::optional<Complaint> first_complaint(parallel::MpiSession& session, const std::string& mine) {
  const std::vector<std::string> all = session.world().all_gather(mine);
  for (std::size_t rank = 0; rank < all.size(); ++rank)
    if (!all[rank].empty()) return Complaint{narrow<int>(rank), all[rank]};
  return std::nullopt;
}

std::vector<std::string> split_lines(const std::string& text) {
  std::vector<std::string> lines;
  for (std::size_t begin = 0; begin < text.size();) {
    const std::size_t end = std::min(text.find('\n', begin), text.size());
    lines.push_back(text.substr(begin, end - begin));
    begin = end + 1;
  }
  return lines;
}

int rank_on_host(const std::vector<std::string>& hosts, int rank) {
  const auto end = hosts.begin() + rank;
  return narrow<int>(std::count(hosts.begin(), end, *end));
}

/// Opens on every rank or fails on every rank.
std::shared_ptr<Gpu> open_together(parallel::MpiSession& session,
                                   const std::vector<std::string>& hosts, int ordinal) {
  std::shared_ptr<Gpu> gpu;
  std::string problem;
  try {
    gpu = Gpu::open(Backend::cuda, ordinal);
  } catch (const Error& error) {
    problem = error.what();
  }
  if (const auto complaint = first_complaint(session, problem))
    refuse(fmt::format("rank {} on {}: {}", complaint->rank,
                       hosts[static_cast<std::size_t>(complaint->rank)], complaint->text));
  return gpu;
}

/// Gives the GPUs of one node away, so that as many ranks as possible have one of their own: a rank
/// whose GPUs are all taken asks their owners to move to another (Kuhn's augmenting paths).
class Node {
 public:
  explicit Node(std::span<const VisibleGpus> ranks) : ranks_(ranks) {}

  bool give(std::size_t rank) {
    std::set<std::string> asked;
    return give(rank, asked);
  }
  void share(std::size_t rank) {
    const auto& visible = ranks_[rank].uuids;
    const std::string* least = nullptr;
    for (const std::string& uuid : visible)
      if (!uuid.empty() && (least == nullptr || sharers_[uuid].size() < sharers_[*least].size()))
        least = &uuid;
    sharers_[*least].push_back(rank);
  }
  void write(std::vector<int>& ordinals) const {
    const auto take = [&](const std::string& uuid, std::size_t rank) {
      const auto& visible = ranks_[rank].uuids;
      ordinals[rank] =
          narrow<int>(std::find(visible.begin(), visible.end(), uuid) - visible.begin());
    };
    for (const auto& [uuid, rank] : owners_) take(uuid, rank);
    for (const auto& [uuid, ranks] : sharers_)
      for (const std::size_t rank : ranks) take(uuid, rank);
  }

 private:
  bool give(std::size_t rank, std::set<std::string>& asked) {
    for (const std::string& uuid : ranks_[rank].uuids)
      if (!uuid.empty() && !owners_.contains(uuid)) {
        owners_[uuid] = rank;
        return true;
      }
    for (const std::string& uuid : ranks_[rank].uuids)
      if (!uuid.empty() && asked.insert(uuid).second && give(owners_.at(uuid), asked)) {
        owners_[uuid] = rank;
        return true;
      }
    return false;
  }

  std::span<const VisibleGpus> ranks_;
  std::map<std::string, std::size_t> owners_;
  std::map<std::string, std::vector<std::size_t>> sharers_;  ///< beside the owner
};

/// Ranks by their hosts.
std::map<std::string, std::vector<std::size_t>> members_of_hosts(
    std::span<const VisibleGpus> ranks) {
  std::map<std::string, std::vector<std::size_t>> hosts;
  for (std::size_t rank = 0; rank < ranks.size(); ++rank) hosts[ranks[rank].host].push_back(rank);
  return hosts;
}

/// Writes the ordinals of one host's ranks, or returns why there are not enough GPUs.
std::string assign_on_host(std::span<const VisibleGpus> ranks,
                           const std::vector<std::size_t>& members, bool share,
                           std::vector<int>& ordinals) {
  Node node(ranks);
  std::set<std::string> distinct;
  std::vector<std::size_t> left_over;
  for (const std::size_t rank : members) {
    const std::string& host = ranks[rank].host;
    if (!ranks[rank].problem.empty())
      return fmt::format("rank {} on {}: {}", rank, host, ranks[rank].problem);
    for (const std::string& uuid : ranks[rank].uuids)
      if (!uuid.empty()) distinct.insert(uuid);
    if (!node.give(rank)) left_over.push_back(rank);
  }
  if (!left_over.empty() && !share)
    return fmt::format(
        "{} has {} rank{} and {} GPU{} to give them (rank {} is left without); start as many "
        "ranks per node as it has GPUs (srun --ntasks-per-node, mpirun --map-by ppr:{}:node), or "
        "let ranks share one with device.share_gpus = true, which is slow",
        ranks[members.front()].host, members.size(), members.size() == 1 ? "" : "s",
        distinct.size(), distinct.size() == 1 ? "" : "s", left_over.front(), distinct.size());
  for (const std::size_t rank : left_over) node.share(rank);
  node.write(ordinals);
  return "";
}

/// What this rank sees.
VisibleGpus visible_gpus() {
  VisibleGpus result;
  try {
    result.has_driver = Gpu::has_driver();
    result.uuids = Gpu::uuids();
    if (result.uuids.empty()) result.problem = Gpu::why_none(Backend::cuda);
    const bool usable = std::any_of(result.uuids.begin(), result.uuids.end(),
                                    [](const std::string& uuid) { return !uuid.empty(); });
    if (!usable && result.problem.empty()) result.problem = Gpu::why_without_code(0);
  } catch (const Error& error) {
    result.problem = error.what();
  }
  return result;
}

/// What every rank sees (collective).
std::vector<VisibleGpus> visible_gpus(parallel::MpiSession& session,
                                      const std::vector<std::string>& hosts) {
  const VisibleGpus mine = visible_gpus();
  std::string text;
  for (const std::string& uuid : mine.uuids) text += uuid + '\n';
  const std::vector<std::string> seen = session.world().all_gather(text);
  const std::vector<std::string> problems = session.world().all_gather(mine.problem);
  const std::vector<double> drivers = session.world().all_gather(mine.has_driver ? 1.0 : 0.0);
  std::vector<VisibleGpus> ranks;
  for (std::size_t rank = 0; rank < seen.size(); ++rank)
    ranks.push_back({hosts[rank], split_lines(seen[rank]), problems[rank], drivers[rank] > 0.0});
  return ranks;
}

struct Choice {
  Backend backend;
  int ordinal = -1;           ///< of this rank's GPU
  std::string why_host = {};  ///< although a GPU could be expected
};
/// The same backend on every rank, or the same error (collective).
Choice choose(parallel::MpiSession& session, const config::DeviceParameters& parameters,
              const std::vector<std::string>& hosts) {
  if (parameters.backend == "host") return {Backend::host};
  if (parameters.backend == "emulated") return {Backend::emulated};
  // Where no rank has a GPU there is nothing to tell each other.
  if (parameters.backend == "auto") {
    std::array<double, 1> gpus{1.0};
    try {
      gpus[0] = static_cast<double>(Gpu::count(Backend::cuda));
    } catch (const Error&) {
      // One that cannot be asked is a problem to tell.
    }
    session.world().all_reduce_max(gpus);
    if (gpus[0] == 0.0) return {Backend::host};
  }
  const std::vector<VisibleGpus> ranks = visible_gpus(session, hosts);
  const auto mine = static_cast<std::size_t>(session.rank());
  if (parameters.backend == "auto") {
    std::string why_host;
    const std::vector<int> ordinals = assign_gpus_or_host(ranks, parameters.share_gpus, why_host);
    if (!ordinals.empty()) return {Backend::cuda, ordinals[mine]};
    return {Backend::host, -1, why_host};
  }
  for (std::size_t rank = 0; rank < ranks.size(); ++rank)
    if (!ranks[rank].problem.empty())
      refuse(
          fmt::format("device.backend = \"cuda\": rank {} on {}: {}. Use device.backend = "
                      "\"host\" or \"auto\", or run on machines with a GPU",
                      rank, hosts[rank], ranks[rank].problem));
  return {Backend::cuda, assign_gpus(ranks, parameters.share_gpus)[mine]};
}

std::string device_of_rank(const Gpu* gpu) {
  if (gpu == nullptr) return "host";
  const Gpu::Description& d = gpu->description();
  std::string text = fmt::format("GPU {} {}", gpu->ordinal(), d.name);
  if (d.numa_node >= 0) text += fmt::format(", NUMA {}", d.numa_node);
  if (!d.nics.empty()) text += ", " + d.nics;
  return text;
}

}  // namespace

std::vector<int> assign_gpus(std::span<const VisibleGpus> ranks, bool share) {
  std::vector<int> ordinals(ranks.size(), -1);
  for (const auto& [host, members] : members_of_hosts(ranks)) {
    const std::string shortage = assign_on_host(ranks, members, share, ordinals);
    if (!shortage.empty()) refuse(shortage);
  }
  return ordinals;
}

std::vector<int> assign_gpus_or_host(std::span<const VisibleGpus> ranks, bool share,
                                     std::string& why_host) {
  std::vector<int> ordinals(ranks.size(), -1);
  std::string complete_host;
  why_host.clear();
  for (const auto& [host, members] : members_of_hosts(ranks)) {
    const std::string shortage = assign_on_host(ranks, members, share, ordinals);
    if (shortage.empty())
      complete_host = host;
    else if (why_host.empty())
      why_host = shortage;
  }
  if (why_host.empty()) return ordinals;
  if (!complete_host.empty())
    refuse(
        fmt::format("device.backend = \"auto\": {}. But {} has a GPU for each of its ranks: leave "
                    "the other node out, or use device.backend = \"host\"",
                    why_host, complete_host));
  const bool expected = std::any_of(ranks.begin(), ranks.end(), [](const VisibleGpus& r) {
    return r.has_driver || !r.uuids.empty();
  });
  if (!expected) why_host.clear();
  return {};
}

std::shared_ptr<Gpu> choose_gpu(parallel::MpiSession& session,
                                const config::DeviceParameters& parameters) {
  if (parameters.backend == "host") return nullptr;
  const std::vector<std::string> hosts = session.host_names();
  const Choice choice = choose(session, parameters, hosts);
  if (choice.backend == Backend::emulated)
    return Gpu::open(Backend::emulated, rank_on_host(hosts, session.rank()));
  if (choice.backend == Backend::cuda) return open_together(session, hosts, choice.ordinal);
  if (!choice.why_host.empty() && session.rank() == 0)
    log::info("device.backend = \"auto\" takes the host: {}", choice.why_host);
  return nullptr;
}

device::Backend choose_backend(parallel::MpiSession& session,
                               const config::DeviceParameters& parameters) {
  if (parameters.backend == "cuda") return Backend::cuda;
  return choose(session, parameters, session.host_names()).backend;
}

device::Backend backend_of(const std::shared_ptr<Gpu>& gpu) {
  return gpu ? gpu->backend() : Backend::host;
}

parallel::CollectiveLibrary collective_library(const config::DeviceParameters& parameters) {
  if (parameters.communicator == "mpi") return parallel::CollectiveLibrary::mpi;
  if (parameters.communicator == "nccl") return parallel::CollectiveLibrary::nccl;
  return parallel::CollectiveLibrary::automatic;
}

void register_activations(const parallel::GridCommunicators& communicators,
                          const device::Arena& activations) {
  const device::View memory = activations.from_source();
  const bool reached = parallel::register_buffers(communicators, memory);
  if (memory.data == nullptr) return;
  log::info("tensor collectives of rank 0: activations {}",
            reached ? "are registered with NCCL, peers reach them directly"
                    : "are not registered: NCCL does that from 2.27 on, among GPUs of one node");
}

std::string describe_devices(parallel::MpiSession& session, const std::shared_ptr<Gpu>& gpu) {
  const std::vector<std::string> hosts = session.host_names();
  const std::vector<std::string> devices = session.world().all_gather(device_of_rank(gpu.get()));
  std::string text;
  for (std::size_t rank = 0; rank < hosts.size();) {
    std::size_t end = rank + 1;
    while (end < hosts.size() && hosts[end] == hosts[rank] && devices[end] == devices[rank]) ++end;
    const std::string who =
        end == rank + 1 ? fmt::format("rank {}", rank) : fmt::format("ranks {}-{}", rank, end - 1);
    text += fmt::format("{}{}: {}, {}", text.empty() ? "" : "\n", who, hosts[rank], devices[rank]);
    rank = end;
  }
  return text;
}

void require_same_products(parallel::MpiSession& session, const device::Gemm& gemm) {
  const std::string mine = gemm.choices();
  const std::string heading = mine.substr(0, mine.find('\n'));
  // The usual case in two numbers, whatever the number of ranks.
  const auto checksum = static_cast<double>(hash_text(heading) >> 11);
  std::array<double, 1> least{checksum}, most{checksum};
  session.world().all_reduce_min(least);
  session.world().all_reduce_max(most);
  if (least == most) return;
  const std::vector<std::string> headings = session.world().all_gather(heading);
  const std::vector<std::string> hosts = session.host_names();
  for (std::size_t rank = 1; rank < headings.size(); ++rank)
    if (headings[rank] != headings[0])
      refuse(fmt::format(
          "the ranks cannot multiply alike: rank 0 on {} has \"{}\", rank {} on {} has \"{}\". "
          "Use the same cuBLAS (LD_LIBRARY_PATH) and GPU model on all nodes, or "
          "device.tune_gemm = false, with which each takes its library's first suggestion",
          hosts[0], headings[0], rank, hosts[rank], headings[rank]));
}

void share_gemm_algorithms(parallel::MpiSession& session, device::Gemm& gemm, int num_stages) {
  // Those of rank 0 first; the other stages add what it does not multiply.
  for (int stage = 0; stage < num_stages; ++stage)
    gemm.adopt_algorithms(
        session.world().broadcast(gemm.choices(), stage * (session.size() / num_stages)));
  if (session.rank() == 0) gemm.save_algorithms();
}

std::vector<io::KeptFile> gemm_algorithms_to_keep(const device::Gemm& gemm) {
  const std::string text = gemm.choices();
  if (text.empty()) return {};
  return {{kGemmChoicesFile, text}};
}

void resume_gemm_algorithms(parallel::MpiSession& session, device::Gemm& gemm,
                            const std::filesystem::path& folder) {
  std::string text;
  if (session.rank() == 0) text = read_whole_file(folder / kGemmChoicesFile).value_or("");
  text = session.world().broadcast(text, 0);
  if (text.empty() || gemm.resume_algorithms(text) || session.rank() != 0) return;
  log::warn(
      "{}: its matrix products were chosen for another GPU or library (\"{}\"); they are chosen "
      "anew, and the run goes on with other roundings",
      folder.string(), text.substr(0, text.find('\n')));
}

}  // namespace espalier::train
