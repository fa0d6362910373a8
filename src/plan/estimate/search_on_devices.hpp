#pragma once
#include <functional>
#include <string>
#include <vector>

#include "config/parameters.hpp"
#include "plan/estimate/estimate.hpp"
#include "plan/scaling/search.hpp"

namespace espalier::plan {

/// What the best layout of a candidate's run on plan.ranks devices of one kind needs.
struct OnDevice {
  enum class Verdict : std::uint8_t { possible, too_large, too_long, no_layout };
  Verdict verdict = Verdict::possible;
  Layout layout;        ///< where it does not fit: the nearest miss, without times
  std::string problem;  ///< of no_layout: why no grid is legal
};

struct PlannedCandidate {
  Candidate candidate;
  std::vector<OnDevice> on;  ///< a device of SearchOnDevices::devices each
  bool is_possible() const;  ///< on one of them; true where there is none
};

/// The candidates of a search with what they need on each device. Devices are alternatives: a
/// candidate stays that one of them can train in plan.hours.
struct SearchOnDevices {
  std::vector<config::HardwareParameters> devices;
  std::int64_t ranks = 0;
  std::vector<PlannedCandidate> possible;  ///< in the order of the search
  std::vector<PlannedCandidate> dropped;
  std::size_t num_not_asked = 0;  ///< candidates behind `most` possible ones
  /// How many candidates a device drops for a reason.
  std::int64_t count(std::size_t device, OnDevice::Verdict verdict) const;
};

/// The devices that the input of a search names, in plan.device or by a [hardware] of its own; none
/// where it names none. Throws Error (bad_configuration, met by every rank) where plan.hours or
/// plan.ranks then say something without a device.
std::vector<config::HardwareParameters> devices_of_search(const config::Parameters& search);

/// All legal layouts of a run, as `layouts` of estimate.hpp returns them.
using LayoutsOf = std::function<std::vector<Layout>(
    const config::Parameters&, const config::HardwareParameters&, std::int64_t ranks)>;
/// Layouts take some tenths of a second for each candidate: only so many are asked, in the order of
/// the search, that `most` of them are possible; 0: all. `tell(done, all)` after each. Throws Error
/// (bad_configuration, met by every rank) where a layout is wrong for every candidate.
SearchOnDevices on_devices(const config::Parameters& search, const SearchResult& result,
                           std::vector<config::HardwareParameters> devices, std::size_t most = 0,
                           const LayoutsOf& layouts_of = layouts,
                           const std::function<void(std::size_t, std::size_t)>& tell = {});

/// "4 candidates do not fit on 2 x a6000; 1 takes longer than 60 h", a line a device, with the
/// nearest miss; empty: nothing was dropped.
std::string why_dropped(const config::Parameters& search, const SearchOnDevices& result);

}  // namespace espalier::plan
