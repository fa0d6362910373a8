#include <algorithm>
#include <array>
#include <chrono>
#include <functional>

#include "check/job.hpp"
#include "device/arena.hpp"
#include "model/architecture.hpp"
#include "model/tensor_table.hpp"
#include "train/device_choice.hpp"

namespace espalier::check {
namespace {

constexpr std::int64_t kValues = 16384;  // 64 KiB of fp32
constexpr int kRounds = 5;

double seconds_of(const std::function<void()>& action) {
  using Clock = std::chrono::steady_clock;
  const auto begin = Clock::now();
  action();
  return std::chrono::duration<double>(Clock::now() - begin).count();
}

std::string time_text(double seconds) {
  return seconds < 1e-3 ? fmt::format("{:.0f} us", 1e6 * seconds)
                        : fmt::format("{:.1f} ms", 1e3 * seconds);
}

/// Sums 64 KiB over the group of every rank at the same time: the first call, which connects, and
/// the median of those after it, of the slowest rank. Whether the sum is right: every rank gives 1.
Finding try_group(Job& job, const std::string& name, parallel::Communicator& group) {
  device::Context& context = job.rank_context->context;
  const std::int64_t bytes = kValues * static_cast<std::int64_t>(sizeof(float));
  auto arena = device::Arena::backed("probe of a collective", bytes + device::Arena::kAlignment,
                                     job.rank_context->gpu);
  const device::View data = arena.allocate("probe", DType::f32, 1, kValues);
  std::vector<float> values(kValues, 1.0F);
  std::vector<double> times;
  std::array<double, 1> wrong{0.0};
  for (int round = 0; round <= kRounds; ++round) {
    context.upload(data, values.data());
    context.synchronize();
    job.session.world().barrier();
    times.push_back(seconds_of([&] {
      group.all_reduce_sum(data);
      context.synchronize();
    }));
    const std::vector<float> sums = context.download<float>(data);
    const auto expected = static_cast<float>(group.size());
    if (std::any_of(sums.begin(), sums.end(), [&](float sum) { return sum != expected; }))
      wrong[0] = 1.0;
  }
  std::sort(times.begin() + 1, times.end());
  std::array<double, 2> slowest{times.front(), times[1 + kRounds / 2]};
  job.session.world().all_reduce_max(slowest);
  job.session.world().all_reduce_max(wrong);
  std::array<double, 1> ranks{static_cast<double>(group.size())};
  job.session.world().all_reduce_max(ranks);
  if (wrong[0] > 0.0)
    return problem(name, ExitStatus::internal,
                   fmt::format("sums over {} ranks are wrong on some rank", ranks[0]),
                   "another MPI or NCCL, or other nodes: this one cannot be trusted");
  return ok(name, fmt::format("{} ranks, a sum of 64 KiB takes {} (the first {})", ranks[0],
                              time_text(slowest[1]), time_text(slowest[0])));
}

}  // namespace

std::vector<Finding> check_collectives(Job& job) {
  if (!job.rank_context)
    return {warning("collectives", "not tried: the grid and its devices must be there first")};
  if (job.session.size() == 1) return {ok("collectives", "one rank: there are none")};
  const config::Parameters& p = job.parameters;
  std::vector<parallel::Span> spans;
  for (const parallel::TensorSpec& spec :
       model::tensor_table(model::Architecture::from(p.model), p.parallel.sequence_parallel))
    spans.push_back(spec.gradient_span);
  parallel::GridCommunicators groups =
      parallel::make_communicators(job.session, job.rank_context->grid, spans,
                                   &job.rank_context->context, train::collective_library(p.device));
  std::vector<Finding> findings;
  if (p.parallel.tensor > 1) findings.push_back(try_group(job, "tensor", *groups.tensor));
  if (groups.context) findings.push_back(try_group(job, "context", *groups.context));
  for (const auto& [span, group] : groups.gradients) {
    const bool has_context = groups.context && span == parallel::Span::tokens_shared;
    findings.push_back(try_group(
        job, has_context ? "context x data" : parallel::gradient_group_name(span), *group));
  }
  double slowest = 0.0;
  for (int round = 0; round < kRounds; ++round) {
    std::array<double, 8> sums{};
    slowest = std::max(slowest, seconds_of([&] { groups.world->all_reduce_sum(sums); }));
  }
  std::array<double, 1> all{slowest};
  job.session.world().all_reduce_max(all);
  findings.push_back(ok("world", fmt::format("{} ranks, a sum of 64 bytes takes at most {}",
                                             job.session.size(), time_text(all[0]))));
  return findings;
}

}  // namespace espalier::check
