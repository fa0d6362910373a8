#include <algorithm>
#include <map>

#include "base/text.hpp"
#include "check/job.hpp"
#include "check/memory_limits.hpp"
#include "plan/memory_fit.hpp"
#include "plan/recompute_budget.hpp"

namespace espalier::check {
namespace {

std::string human(std::int64_t bytes) {
  return human_bytes(static_cast<double>(bytes));
}

/// What a rank takes of its node: all of the plan on the host, else what saves copy and what is
/// pinned for the GPU. Of the GPU itself: why_not_fitting.
std::int64_t host_bytes(const Job& job, const plan::Room& room) {
  const parallel::ProcessGrid& grid = job.rank_context->grid;
  const config::Parameters chosen = plan::with_recompute_chosen(job.parameters, grid.shape(), room);
  const auto memory =
      plan::TrainingMemory::planned(chosen, grid, room.backend, room.compute_capability);
  if (room.backend != device::Backend::cuda)
    return plan::needed_bytes(chosen, grid.shape(), memory, room);
  return memory.pinned_bytes() + plan::save_copy_bytes(chosen, memory);
}

plan::Room room_of_rank(const Job& job) {
  const config::Parameters& p = job.parameters;
  const auto& gpu = job.rank_context->gpu;
  if (gpu != nullptr && gpu->backend() == device::Backend::cuda)
    return plan::room_of(p, job.rank_context->grid, *gpu);
  return plan::room_of(p.device, job.rank_context->context.backend());
}

/// A host with its ranks, what they need together and what there is.
struct Node {
  int ranks = 0;
  std::int64_t needed = 0;
  std::int64_t available = 0;  ///< the least that one of its ranks sees; 0: not known
  std::string whose;
};

void add_nodes(const Job& job, const std::map<std::string, Node>& nodes,
               std::vector<Finding>& findings) {
  constexpr double kNearlyAll = 0.9;
  const auto text_of = [&](const std::string& host, const Node& node) {
    return fmt::format("{}: {} rank{} need{} {}, {} is free ({})", host, node.ranks,
                       node.ranks == 1 ? "" : "s", node.ranks == 1 ? "s" : "", human(node.needed),
                       human(node.available), node.whose);
  };
  const auto share = [](const Node& node) {
    return static_cast<double>(node.needed) /
           static_cast<double>(std::max<std::int64_t>(node.available, 1));
  };
  const auto worst = std::max_element(
      nodes.begin(), nodes.end(),
      [&](const auto& a, const auto& b) { return share(a.second) < share(b.second); });
  const auto& [host, node] = *worst;
  if (node.whose.empty()) {
    findings.push_back(warning(
        "node", fmt::format("{} rank{} need {}; what is free cannot be "
                            "read on {}",
                            node.ranks, node.ranks == 1 ? "" : "s", human(node.needed), host)));
    return;
  }
  const auto num_short = std::count_if(nodes.begin(), nodes.end(), [](const auto& one) {
    return !one.second.whose.empty() && one.second.needed > one.second.available;
  });
  std::string text = text_of(host, node);
  if (nodes.size() > 1)
    text += fmt::format("; the other {} hosts have more room", nodes.size() - 1);
  if (num_short > 1)
    text = fmt::format("{} hosts have too little; {}", num_short, text_of(host, node));
  if (num_short > 0) {
    plan::Room room = room_of_rank(job);
    std::string remedy = "fewer ranks per node, or more memory for the job (sbatch --mem)";
    if (room.backend == device::Backend::host) {
      room.free_bytes = node.available / node.ranks;
      const std::int64_t needed = node.needed / node.ranks;
      remedy += "\n" +
                plan::describe_alternatives(
                    plan::alternatives(job.parameters, job.rank_context->grid, room), needed, room);
    }
    findings.push_back(problem("node", ExitStatus::bad_configuration, text, remedy));
  } else if (share(node) > kNearlyAll) {
    findings.push_back(warning("node", text + ": more than nine tenths",
                               "whatever else takes memory there can end the job"));
  } else {
    findings.push_back(ok("node", text));
  }
}

}  // namespace

std::vector<Finding> check_memory(Job& job) {
  if (!job.rank_context)
    return {warning("plan", "not tried: the grid and its devices must be there first")};
  std::vector<Finding> findings;
  // A plan of every rank; the text is why it does not fit into its GPU, or device.memory_gib.
  std::int64_t needed = 0;
  const bool has_room = job.rank_context->gpu != nullptr || job.parameters.device.memory_gib > 0.0;
  const auto answers = on_every_rank(job.session, [&] {
    if (job.rank_context->gpu == nullptr) plan::require_budget(job.parameters);
    const plan::Room room = room_of_rank(job);
    needed = host_bytes(job, room);
    const bool is_emulated = room.backend == device::Backend::emulated;
    if (!has_room || is_emulated) return std::string();
    const std::string why = plan::why_not_fitting(job.parameters, job.rank_context->grid, room);
    if (!why.empty()) throw Error(ExitStatus::bad_configuration, why);
    return fmt::format("fits: {}", room.whose);
  });
  const Errors errors = errors_of(answers, job.hosts);
  if (!errors.text.empty())
    findings.push_back(problem("plan", errors.status, errors.text));
  else if (has_room)
    findings.push_back(ok("plan", answers.front().text));
  const std::vector<MemoryLimit> limits = limits_here();
  auto& world = job.session.world();
  const std::vector<double> all_needed = world.all_gather(static_cast<double>(needed));
  const std::vector<double> all_free =
      world.all_gather(limits.empty() ? 0.0 : static_cast<double>(limits.front().bytes));
  const std::vector<std::string> all_whose =
      world.all_gather(limits.empty() ? std::string() : limits.front().whose);
  std::map<std::string, Node> nodes;
  for (std::size_t rank = 0; rank < all_needed.size(); ++rank) {
    Node& node = nodes[job.hosts[rank]];
    const auto available = static_cast<std::int64_t>(all_free[rank]);
    if (node.ranks == 0 || available < node.available) {
      node.available = available;
      node.whose = all_whose[rank];
    }
    ++node.ranks;
    node.needed += static_cast<std::int64_t>(all_needed[rank]);
  }
  const auto largest = std::max_element(all_needed.begin(), all_needed.end());
  findings.push_back(
      ok("a rank",
         fmt::format("needs at most {} of its node{}", human(static_cast<std::int64_t>(*largest)),
                     job.rank_context->gpu == nullptr ? "" : ", beside its GPU")));
  add_nodes(job, nodes, findings);
  return findings;
}

}  // namespace espalier::check
