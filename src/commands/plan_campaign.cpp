#include <filesystem>

#include "base/log.hpp"
#include "commands/commands.hpp"
#include "parallel/comm/on_rank_0.hpp"
#include "plan/estimate/campaign.hpp"
#include "plan/estimate/planned_input.hpp"

namespace espalier::commands {
namespace {

std::string planned(std::span<const std::string> paths, std::span<const std::string> overrides) {
  if (paths.size() > 1)
    fail(ExitStatus::usage,
         "two campaigns, {} and {}: name one (a change to it is written section.key=value)",
         paths[0], paths[1]);
  const config::Parameters campaign = plan::read_planned_input(paths[0], overrides);
  const report::Format format = report::format_from_name(campaign.plan.format);
  const std::string folder = std::filesystem::path(paths[0]).parent_path().string();
  std::vector<plan::CampaignPlan> plans;
  for (const config::HardwareParameters& hardware : plan::hardware_of(campaign))
    plans.push_back(plan::plan_campaign(campaign, folder, hardware));
  std::string text =
      plan::print_campaign(campaign.run.name, plans, campaign.campaign.reserve, format);
  std::vector<std::string> written;
  if (!campaign.plan.write.empty()) written = plan::write_campaign(plans, campaign.plan.write);
  if (report::is_for_people(format))
    for (const std::string& path : written) text += fmt::format("written: {}\n", path);
  text.pop_back();  // a line has its own end
  return text;
}

}  // namespace

ExitStatus plan_campaign(parallel::MpiSession& session, std::span<const std::string> paths,
                         std::span<const std::string> overrides, bool) {
  log::line(parallel::on_rank_0(session, [&] { return planned(paths, overrides); }));
  return ExitStatus::ok;
}

}  // namespace espalier::commands
