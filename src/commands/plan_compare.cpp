#include <algorithm>
#include <filesystem>

#include "base/log.hpp"
#include "commands/commands.hpp"
#include "parallel/comm/on_rank_0.hpp"
#include "plan/estimate/compare.hpp"
#include "plan/estimate/planned_input.hpp"

namespace espalier::commands {
namespace {

/// The shortest ends of the paths that tell the inputs apart: "b200/run" beside "a100/run".
std::vector<std::string> headings(std::span<const std::string> paths) {
  namespace fs = std::filesystem;
  std::vector<fs::path> rest;
  std::vector<std::string> names;
  for (const std::string& path : paths) {
    const fs::path whole = fs::absolute(path).lexically_normal();
    rest.push_back(whole.parent_path());
    names.push_back(whole.stem().string());
  }
  const std::size_t most = 64;  // folders; the same file twice has no such ends
  for (std::size_t round = 0; round < most; ++round) {
    const std::vector<std::string> before = names;
    bool all_differ = true;
    for (std::size_t i = 0; i < names.size(); ++i) {
      if (std::count(before.begin(), before.end(), before[i]) == 1) continue;
      all_differ = false;
      names[i] = (rest[i].filename() / names[i]).string();
      rest[i] = rest[i].parent_path();
    }
    if (all_differ) break;
  }
  return names;
}

void require_different(std::span<const std::string> paths) {
  for (std::size_t i = 0; i < paths.size(); ++i)
    for (std::size_t k = 0; k < i; ++k) {
      std::error_code ignored;
      require(!std::filesystem::equivalent(paths[i], paths[k], ignored), ExitStatus::usage,
              "{} and {} are the same file: an input is compared with others, so name it once",
              paths[k], paths[i]);
    }
}

std::string compared(std::span<const std::string> paths, std::span<const std::string> overrides) {
  require_different(paths);
  const std::vector<std::string> names = headings(paths);
  std::vector<plan::ComparedRun> runs;
  for (std::size_t i = 0; i < paths.size(); ++i)
    runs.push_back({names[i], plan::read_planned_input(paths[i], overrides)});
  std::vector<std::string> named;
  std::vector<config::HardwareParameters> devices;
  for (const plan::ComparedRun& run : runs) {
    const config::Parameters& p = run.parameters;
    if (p.plan.device.empty() && p.hardware.name.empty()) continue;
    for (config::HardwareParameters& device : plan::hardware_of(p)) {
      if (std::find(named.begin(), named.end(), device.name) != named.end()) continue;
      named.push_back(device.name);
      devices.push_back(std::move(device));
    }
  }
  const report::Format format = report::format_from_name(runs.front().parameters.plan.format);
  std::string text = plan::print_comparison(runs, plan::compared_properties(runs, devices), format);
  text.pop_back();  // a line has its own end
  return text;
}

}  // namespace

ExitStatus plan_compare(parallel::MpiSession& session, std::span<const std::string> paths,
                        std::span<const std::string> overrides, bool) {
  log::line(parallel::on_rank_0(session, [&] { return compared(paths, overrides); }));
  return ExitStatus::ok;
}

}  // namespace espalier::commands
