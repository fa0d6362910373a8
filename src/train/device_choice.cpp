#include "train/device_choice.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <map>
#include <optional>
#include <set>

#include "base/error.hpp"
#include "base/integers.hpp"
#include "base/log.hpp"

namespace espalier::train {
namespace {

using device::Backend;
using device::Gpu;

constexpr const char* kGemmChoicesFile = "gemm_choices.txt";  ///< of a checkpoint

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
    const auto least = std::min_element(visible.begin(), visible.end(),
                                        [this](const std::string& a, const std::string& b) {
                                          return sharers_[a].size() < sharers_[b].size();
                                        });
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
      if (!owners_.contains(uuid)) {
        owners_[uuid] = rank;
        return true;
      }
    for (const std::string& uuid : ranks_[rank].uuids)
      if (asked.insert(uuid).second && give(owners_.at(uuid), asked)) {
        owners_[uuid] = rank;
        return true;
      }
    return false;
  }

  std::span<const VisibleGpus> ranks_;
  std::map<std::string, std::size_t> owners_;
  std::map<std::string, std::vector<std::size_t>> sharers_;  ///< beside the owner
};

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
  std::map<std::string, std::vector<std::size_t>> hosts;
  for (std::size_t rank = 0; rank < ranks.size(); ++rank) hosts[ranks[rank].host].push_back(rank);
  std::vector<int> ordinals(ranks.size(), -1);
  for (const auto& [host, members] : hosts) {
    Node node(ranks);
    std::set<std::string> distinct;
    std::vector<std::size_t> left_over;
    for (const std::size_t rank : members) {
      distinct.insert(ranks[rank].uuids.begin(), ranks[rank].uuids.end());
      ESPALIER_ASSERT(!ranks[rank].uuids.empty(), "rank {} sees no GPU", rank);
      if (!node.give(rank)) left_over.push_back(rank);
    }
    if (!left_over.empty() && !share)
      refuse(fmt::format(
          "{} has {} rank{} and {} GPU{} to give them (rank {} is left without); start as many "
          "ranks per node as it has GPUs (srun --ntasks-per-node, mpirun --map-by ppr:{}:node), or "
          "let ranks share one with device.share_gpus = true, which is slow",
          host, members.size(), members.size() == 1 ? "" : "s", distinct.size(),
          distinct.size() == 1 ? "" : "s", left_over.front(), distinct.size()));
    for (const std::size_t rank : left_over) node.share(rank);
    node.write(ordinals);
  }
  return ordinals;
}

std::shared_ptr<Gpu> choose_gpu(parallel::MpiSession& session,
                                const config::DeviceParameters& parameters) {
  if (parameters.backend == "host") return nullptr;
  const std::vector<std::string> hosts = session.host_names();
  if (parameters.backend == "emulated")
    return Gpu::open(Backend::emulated, rank_on_host(hosts, session.rank()));

  std::vector<std::string> uuids;
  std::string problem;
  try {
    uuids = Gpu::uuids();
    if (uuids.empty()) problem = Gpu::why_none(Backend::cuda);
  } catch (const Error& error) {
    problem = error.what();
  }
  if (const auto complaint = first_complaint(session, problem)) {
    const std::string who = fmt::format("rank {} on {}", complaint->rank,
                                        hosts[static_cast<std::size_t>(complaint->rank)]);
    if (parameters.backend == "cuda")
      refuse(
          fmt::format("device.backend = \"cuda\": {}: {}. Use device.backend = \"host\" or "
                      "\"auto\", or run on machines with a GPU",
                      who, complaint->text));
    // A node that lost its GPU must not make the others of a large job compute on their hosts.
    std::vector<double> has_gpu{uuids.empty() ? 0.0 : 1.0};
    session.world().all_reduce_sum(has_gpu);
    if (has_gpu[0] > 0.0)
      refuse(
          fmt::format("device.backend = \"auto\": {} has no GPU ({}), but {} of {} ranks have one. "
                      "Leave that node out, or use device.backend = \"host\"",
                      who, complaint->text, has_gpu[0], session.size()));
    return nullptr;
  }

  std::string mine;
  for (const std::string& uuid : uuids) mine += uuid + '\n';
  const std::vector<std::string> seen = session.world().all_gather(mine);
  std::vector<VisibleGpus> ranks;
  for (std::size_t rank = 0; rank < seen.size(); ++rank)
    ranks.push_back({hosts[rank], split_lines(seen[rank])});
  const std::vector<int> ordinals = assign_gpus(ranks, parameters.share_gpus);
  return open_together(session, hosts, ordinals[static_cast<std::size_t>(session.rank())]);
}

device::Backend backend_of(const std::shared_ptr<Gpu>& gpu) {
  return gpu ? gpu->backend() : Backend::host;
}

parallel::CollectiveLibrary collective_library(const config::DeviceParameters& parameters) {
  if (parameters.communicator == "mpi") return parallel::CollectiveLibrary::mpi;
  if (parameters.communicator == "nccl") return parallel::CollectiveLibrary::nccl;
  return parallel::CollectiveLibrary::automatic;
}

void let_peers_reach_activations(const parallel::GridCommunicators& communicators,
                                 const device::Arena& activations) {
  const device::View memory = activations.from_source();
  const bool reached = parallel::let_peers_reach(communicators, memory);
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
  const std::vector<std::string> headings =
      session.world().all_gather(mine.substr(0, mine.find('\n')));
  const std::vector<std::string> hosts = session.host_names();
  for (std::size_t rank = 1; rank < headings.size(); ++rank)
    if (headings[rank] != headings[0])
      refuse(fmt::format(
          "the ranks cannot multiply alike: rank 0 on {} has \"{}\", rank {} on {} has \"{}\". "
          "Use the same cuBLAS (LD_LIBRARY_PATH) and GPU model on all nodes, or "
          "device.tune_gemm = false, with which each takes its library's first suggestion",
          hosts[0], headings[0], rank, hosts[rank], headings[rank]));
}

void share_gemm_choices(parallel::MpiSession& session, device::Gemm& gemm) {
  gemm.adopt_choices(session.world().broadcast(gemm.choices(), 0));
  if (session.rank() == 0) gemm.save_choices();
}

}  // namespace espalier::train
std::vector<io::KeptFile> gemm_choices_to_keep(const device::Gemm& gemm) {
  const std::string text = gemm.choices();
  if (text.empty()) return {};
  return {{kGemmChoicesFile, text}};
}

void resume_gemm_choices(parallel::MpiSession& session, device::Gemm& gemm,
                         const std::filesystem::path& folder) {
  std::string text;
  if (session.rank() == 0) {
    std::ifstream in(folder / kGemmChoicesFile, std::ios::binary);
    text.assign(std::istreambuf_iterator<char>(in), {});
  }
  text = session.world().broadcast(text, 0);
  if (text.empty() || gemm.resume_choices(text) || session.rank() != 0) return;
  log::warn(
      "{}: its matrix products were chosen for another GPU or library (\"{}\"); they are chosen "
      "anew, and the run goes on with other roundings",
      folder.string(), text.substr(0, text.find('\n')));
}

