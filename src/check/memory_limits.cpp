#include "check/memory_limits.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <charconv>
#include <cstdlib>
#include <optional>

#include "base/text.hpp"
#include "base/whole_file.hpp"

namespace espalier::check {
namespace {

namespace fs = std::filesystem;
constexpr std::int64_t kMiB = 1 << 20;

/// The number that a text begins with, after blanks.
std::optional<std::int64_t> number_of(std::string_view text) {
  text.remove_prefix(std::min(text.find_first_not_of(" \t"), text.size()));
  std::int64_t number = 0;
  const auto [rest, error] = std::from_chars(text.data(), text.data() + text.size(), number);
  if (error != std::errc{}) return std::nullopt;
  return number;
}

std::optional<std::int64_t> number_in(const fs::path& file) {
  return number_of(read_whole_file(file).value_or(""));
}

/// The number behind `key` at the beginning of a line.
std::optional<std::int64_t> number_behind(std::string_view text, std::string_view key) {
  for (std::size_t at = 0; at < text.size();) {
    const std::string_view line = text.substr(at, text.find('\n', at) - at);
    if (line.starts_with(key)) return number_of(line.substr(key.size()));
    at += line.size() + 1;
  }
  return std::nullopt;
}

/// What one group leaves, if it has a limit; v1 writes a number near 2^63 where it has none.
void add_limit(const fs::path& folder, const char* limit_name, const char* usage_name,
               const char* cache_key, std::vector<MemoryLimit>& limits) {
  constexpr std::int64_t kNone = std::int64_t{1} << 60;
  const auto limit = number_in(folder / limit_name);
  if (!limit || *limit >= kNone) return;
  const std::int64_t used = number_in(folder / usage_name).value_or(0);
  const std::string statistics = read_whole_file(folder / "memory.stat").value_or("");
  const std::int64_t given_up = number_behind(statistics, cache_key).value_or(0);
  limits.push_back(
      {fmt::format("{} of {}, of {}", limit_name, folder.string(),
                   human_bytes(static_cast<double>(*limit))),
       std::max<std::int64_t>(*limit - std::max<std::int64_t>(used - given_up, 0), 0)});
}

/// The folder that `group` names, and those above it up to `root`.
template <class Add>
void for_each_above(const fs::path& root, std::string_view group, Add&& add) {
  fs::path folder = root / fs::path(group).relative_path();
  while (folder != root && folder.has_relative_path() && folder != folder.parent_path()) {
    add(folder);
    folder = folder.parent_path();
  }
  add(root);
}

}  // namespace

std::vector<MemoryLimit> limits_of_meminfo(std::string_view text) {
  const auto kib = number_behind(text, "MemAvailable:");
  if (!kib) return {};
  return {{"MemAvailable of /proc/meminfo", *kib * 1024}};
}

std::vector<MemoryLimit> limits_of_cgroups(const fs::path& root, std::string_view own) {
  std::vector<MemoryLimit> limits;
  for (std::size_t at = 0; at < own.size();) {  // a line: "4:memory:/slurm/job_1", "0::/slurm/..."
    const std::string_view line = own.substr(at, own.find('\n', at) - at);
    at += line.size() + 1;
    const std::size_t first = line.find(':'), second = line.find(':', first + 1);
    if (first == line.npos || second == line.npos) continue;
    const std::string_view controllers = line.substr(first + 1, second - first - 1);
    const std::string_view group = line.substr(second + 1);
    if (controllers.empty())
      for_each_above(root, group, [&](const fs::path& folder) {
        add_limit(folder, "memory.max", "memory.current", "inactive_file", limits);
      });
    else if (fmt::format(",{},", controllers).find(",memory,") != std::string::npos)
      for_each_above(root / "memory", group, [&](const fs::path& folder) {
        add_limit(folder, "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file",
                  limits);
      });
  }
  return limits;
}

std::vector<MemoryLimit> limits_of_slurm(const char* per_node, const char* per_cpu,
                                         const char* cpus) {
  const auto number = [](const char* text) {
    return text == nullptr ? std::int64_t{0} : number_of(text).value_or(0);
  };
  if (const std::int64_t mib = number(per_node); mib > 0)
    return {{"SLURM_MEM_PER_NODE", mib * kMiB}};
  if (const std::int64_t mib = number(per_cpu) * number(cpus); mib > 0)
    return {{"SLURM_MEM_PER_CPU x SLURM_CPUS_ON_NODE", mib * kMiB}};
  return {};
}

std::vector<MemoryLimit> limits_here() {
  std::vector<MemoryLimit> all = limits_of_meminfo(read_whole_file("/proc/meminfo").value_or(""));
  const auto add = [&](const std::vector<MemoryLimit>& more) {
    all.insert(all.end(), more.begin(), more.end());
  };
  add(limits_of_cgroups("/sys/fs/cgroup", read_whole_file("/proc/self/cgroup").value_or("")));
  add(limits_of_slurm(std::getenv("SLURM_MEM_PER_NODE"), std::getenv("SLURM_MEM_PER_CPU"),
                      std::getenv("SLURM_CPUS_ON_NODE")));
  const auto narrowest = std::min_element(
      all.begin(), all.end(),
      [](const MemoryLimit& a, const MemoryLimit& b) { return a.bytes < b.bytes; });
  if (narrowest == all.end()) return {};
  return {*narrowest};
}

}  // namespace espalier::check
