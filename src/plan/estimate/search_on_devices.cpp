#include "plan/estimate/search_on_devices.hpp"

#include <algorithm>

#include "base/error.hpp"
#include "plan/scaling/candidate_input.hpp"

namespace espalier::plan {
namespace {

using Verdict = OnDevice::Verdict;

[[noreturn]] void fail_configuration(const std::string& message) {
  throw Error(ExitStatus::bad_configuration, message, Met::by_every_rank);
}

OnDevice planned(const config::Parameters& run, const config::HardwareParameters& hardware,
                 std::int64_t ranks, double hours, const LayoutsOf& layouts_of) {
  OnDevice on;
  std::vector<Layout> all;
  try {
    all = layouts_of(run, hardware, ranks);
  } catch (const Error& error) {
    // A grid that this shape's heads do not divide over is no fault of the search.
    if (error.status() != ExitStatus::bad_configuration) throw;
    on.problem = error.what();
  }
  if (all.empty()) {
    on.verdict = Verdict::no_layout;
    return on;
  }
  on.layout = std::move(all.front());
  if (!on.layout.estimate.fits)
    on.verdict = Verdict::too_large;
  else if (hours > 0.0 && on.layout.estimate.hours > hours)
    on.verdict = Verdict::too_long;
  return on;
}

double gib(std::int64_t bytes) {
  return static_cast<double>(bytes) / static_cast<double>(std::int64_t{1} << 30);
}

}  // namespace

bool PlannedCandidate::is_possible() const {
  return on.empty() || std::any_of(on.begin(), on.end(), [](const OnDevice& device) {
           return device.verdict == Verdict::possible;
         });
}

std::int64_t SearchOnDevices::count(std::size_t device, Verdict verdict) const {
  std::int64_t count = 0;
  for (const auto* list : {&possible, &dropped})
    count += std::count_if(list->begin(), list->end(), [&](const PlannedCandidate& candidate) {
      return candidate.on[device].verdict == verdict;
    });
  return count;
}

std::vector<config::HardwareParameters> devices_of_search(const config::Parameters& p) {
  if (!p.plan.device.empty() || !p.hardware.name.empty() || p.hardware.memory_gib > 0.0)
    return hardware_of(p);
  if (p.plan.hours > 0.0 || p.plan.ranks > 0)
    fail_configuration(
        fmt::format("plan.{} says nothing without a device: name one in plan.device, as \"b200\", "
                    "or remove it",
                    p.plan.hours > 0.0 ? fmt::format("hours = {}", p.plan.hours)
                                       : fmt::format("ranks = {}", p.plan.ranks)));
  return {};
}

SearchOnDevices on_devices(const config::Parameters& search, const SearchResult& result,
                           std::vector<config::HardwareParameters> devices, std::size_t most,
                           const LayoutsOf& layouts_of,
                           const std::function<void(std::size_t, std::size_t)>& tell) {
  SearchOnDevices on;
  on.devices = std::move(devices);
  on.ranks = search.plan.ranks > 0 ? search.plan.ranks : config::declared_ranks(search);
  std::size_t done = 0, num_without_layout = 0;
  std::string problem;
  for (const Candidate& candidate : result.candidates) {
    if (!on.devices.empty() && most > 0 && on.possible.size() >= most) {
      ++on.num_not_asked;
      continue;
    }
    PlannedCandidate planned_candidate{.candidate = candidate, .on = {}};
    const config::Parameters run = run_of(search, candidate);
    for (const config::HardwareParameters& hardware : on.devices) {
      planned_candidate.on.push_back(
          planned(run, hardware, on.ranks, search.plan.hours, layouts_of));
      if (planned_candidate.on.back().verdict != Verdict::no_layout) continue;
      ++num_without_layout;
      if (problem.empty()) problem = planned_candidate.on.back().problem;
    }
    ++done;
    if (tell && !on.devices.empty()) tell(done, result.candidates.size());
    auto& list = planned_candidate.is_possible() ? on.possible : on.dropped;
    list.push_back(std::move(planned_candidate));
  }
  if (num_without_layout > 0 && num_without_layout == done * on.devices.size())
    fail_configuration(fmt::format("no candidate can be laid out on {} ranks (plan.ranks): {}",
                                   on.ranks, problem));
  return on;
}

std::string why_dropped(const config::Parameters& search, const SearchOnDevices& result) {
  std::string text;
  for (std::size_t i = 0; i < result.devices.size(); ++i) {
    std::string reasons;
    const auto add = [&](const std::string& reason) {
      reasons += (reasons.empty() ? "" : "; ") + reason;
    };
    // The nearest miss of each kind.
    const Layout* smallest = nullptr;
    const Layout* fastest = nullptr;
    for (const auto* list : {&result.possible, &result.dropped})
      for (const PlannedCandidate& candidate : *list) {
        const OnDevice& on = candidate.on[i];
        const Estimate& e = on.layout.estimate;
        if (on.verdict == Verdict::too_large &&
            (smallest == nullptr || e.memory_bytes < smallest->estimate.memory_bytes))
          smallest = &on.layout;
        if (on.verdict == Verdict::too_long &&
            (fastest == nullptr || e.hours < fastest->estimate.hours))
          fastest = &on.layout;
      }
    if (smallest != nullptr)
      add(fmt::format("{} too large for {:.4g} GiB (the least: {:.4g} GiB)",
                      result.count(i, Verdict::too_large), result.devices[i].memory_gib,
                      gib(smallest->estimate.memory_bytes)));
    if (fastest != nullptr)
      add(fmt::format("{} longer than plan.hours = {:.4g} (the least: {:.4g} h)",
                      result.count(i, Verdict::too_long), search.plan.hours,
                      fastest->estimate.hours));
    if (const std::int64_t count = result.count(i, Verdict::no_layout); count > 0)
      add(fmt::format("{} without a legal layout", count));
    if (!reasons.empty())
      text += fmt::format("{}{} x {}: {}", text.empty() ? "" : "\n", result.ranks,
                          result.devices[i].name, reasons);
  }
  return text;
}

}  // namespace espalier::plan
