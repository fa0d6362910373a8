#pragma once
#include <span>
#include <string>
#include <vector>

#include "plan/estimate/estimate.hpp"
#include "report/table.hpp"

namespace espalier::plan {

/// A run of a campaign on one kind of device.
struct CampaignRun {
  std::size_t phase = 0;  ///< index
  std::string name;       ///< that of the phase and, of several runs, the value in which it differs
  Layout layout;          ///< the fastest that fits; else the smallest, without times
  /// Name of an earlier run that computes the same: it is not done again, and takes no time.
  std::string same_as;
  double begins = 0.0, ends = 0.0;  ///< hours since the campaign began

  bool fits() const { return layout.estimate.fits; }
  bool is_done() const { return fits() && same_as.empty(); }
  double hours() const { return ends - begins; }
  double tokens() const;
};

/// Phases one after another, and the runs of a phase one after another, each on all devices.
struct CampaignPlan {
  config::HardwareParameters hardware;
  std::int64_t ranks = 0;
  double hours = 0.0;   ///< there are: plan.hours
  double usable = 0.0;  ///< of them, without campaign.reserve
  std::vector<std::string> phases;
  std::vector<CampaignRun> runs;

  double needed() const;                     ///< hours until the last run ends
  double over() const;                       ///< needed beyond usable, or 0
  double hours_of(std::size_t phase) const;  ///< of its runs
  bool fits() const;                         ///< every run in memory, and all in time
};

/// Plans the [campaign] on plan.ranks devices of that kind. The inputs of its phases are found from
/// `folder`, that of the campaign's file, or from the working directory. Throws Error
/// (bad_configuration) that names the phase where it, its input or a change is wrong.
CampaignPlan plan_campaign(const config::Parameters& campaign, const std::string& folder,
                           const config::HardwareParameters& hardware);

/// Runs and phases with their tokens, hours, memory and layouts, what does not fit and what would
/// make it. CSV and JSON: a row or an object for each run on each device.
std::string print_campaign(const std::string& name, const std::vector<CampaignPlan>& plans,
                           double reserve, report::Format format);

/// Writes the run input of every run that fits and is not the same as another, of all devices, into
/// the folder, which is made; returns their paths. Throws Error (bad_configuration) before anything
/// is written where one of the files is there already.
std::vector<std::string> write_campaign(std::span<const CampaignPlan> plans,
                                        const std::string& folder);

/// What would make a campaign fit that does not: a line for each way, with its figures.
std::vector<std::string> ways_to_fit(const CampaignPlan& plan, double reserve);

}  // namespace espalier::plan
