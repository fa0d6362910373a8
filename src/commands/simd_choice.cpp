#include "commands/simd_choice.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <vector>

#include "base/error.hpp"
#include "device/host_library.hpp"

namespace espalier::commands {
namespace {

constexpr const char* kAutomatic = "auto";

std::vector<simd::Level> best_levels(parallel::MpiSession& session) {
  std::vector<simd::Level> levels;
  for (const double number : session.world().all_gather(static_cast<double>(simd::best_level())))
    levels.push_back(static_cast<simd::Level>(static_cast<int>(number)));
  return levels;
}

}  // namespace

void choose_simd_level(parallel::MpiSession& session, const config::DeviceParameters& parameters) {
  const std::vector<simd::Level> best = best_levels(session);
  const auto least = std::min_element(best.begin(), best.end());
  simd::Level level = *least;
  if (parameters.simd != kAutomatic) {
    level = simd::level_from_name(parameters.simd);
    const std::vector<std::string> hosts = session.host_names();
    const auto rank = static_cast<std::size_t>(least - best.begin());
    if (level > *least)
      throw Error(ExitStatus::bad_configuration,
                  fmt::format("device.simd = \"{}\": the processor of rank {} on {} has no more "
                              "than \"{}\"; use \"{}\" or \"auto\"",
                              parameters.simd, rank, hosts[rank], simd::name_of(*least),
                              simd::name_of(*least)),
                  Met::by_every_rank);
  }
  simd::use_level(level);
  device::limit_host_library(level);
}

std::string why_not_better(parallel::MpiSession& session,
                           const config::DeviceParameters& parameters) {
  return explain_simd_level(simd::level(), parameters.simd, best_levels(session),
                            session.host_names());
}

std::string explain_simd_level(simd::Level in_force, const std::string& asked,
                               std::span<const simd::Level> best,
                               std::span<const std::string> hosts) {
  const auto most = std::max_element(best.begin(), best.end());
  if (in_force >= *most) return {};
  if (asked != kAutomatic)
    return fmt::format("SIMD level {} because of device.simd; the processors have {}",
                       simd::name_of(in_force),
                       simd::name_of(*std::min_element(best.begin(), best.end())));
  const auto rank_of = [&](auto place) { return static_cast<std::size_t>(place - best.begin()); };
  const std::size_t least = rank_of(std::min_element(best.begin(), best.end()));
  return fmt::format(
      "SIMD level {} for all ranks: rank {} on {} has no better one, rank {} on {} "
      "has {}",
      simd::name_of(in_force), least, hosts[least], rank_of(most), hosts[rank_of(most)],
      simd::name_of(*most));
}

}  // namespace espalier::commands
