#include "train/hang_watch.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <map>
#include <string_view>
#include <utility>

#include "base/held_warnings.hpp"
#include "base/text.hpp"

namespace espalier::train {
namespace {

constexpr std::size_t kMostTold = 8;  ///< ranks or groups that a sentence goes into

std::string doing(const RankNow& now) {
  return now.step > 0 ? fmt::format("{} of step {}", now.activity, now.step) : now.activity;
}

/// The same behind "is": "in attention of step 7", "waiting for ...".
std::string busy_with(const RankNow& now) {
  return (now.activity.starts_with("waiting") ? "" : "in ") + doing(now);
}

}  // namespace

bool is_wait_for_others(const std::string& activity) {
  constexpr std::array<std::string_view, 9> kWaits{"tensor communication",
                                                   "context communication",
                                                   "expert communication",
                                                   "pipeline communication",
                                                   "gradient communication",
                                                   "weight communication",
                                                   "clipping",
                                                   "exchange between the ranks",
                                                   "waiting for the other ranks"};
  // A message of a pipeline, which names what and from whom (parallel/pipeline_link.hpp).
  const bool waits_for_stage =
      activity.starts_with("waiting for ") && activity.find(" pipeline rank ") != std::string::npos;
  return waits_for_stage || std::find(kWaits.begin(), kWaits.end(), activity) != kWaits.end();
}

HangWatch::HangWatch(std::vector<std::string> hosts, double timeout_s, double silence_s,
                     double now_s)
    : hosts_(std::move(hosts)),
      timeout_s_(timeout_s),
      silence_s_(silence_s),
      ranks_(hosts_.size(), Rank{.now = {}, .heard_s = now_s, .changed_s = now_s}) {}

void HangWatch::heard(std::int64_t rank, const RankNow& rank_now, double now_s) {
  Rank& of = ranks_[static_cast<std::size_t>(rank)];
  if (!of.was_heard || rank_now.changes != of.now.changes) of.changed_s = now_s;
  of.now = rank_now;
  of.heard_s = now_s;
  of.was_heard = true;
}

void HangWatch::pause(double seconds) {
  for (Rank& rank : ranks_) {
    rank.heard_s += seconds;
    rank.changed_s += seconds;
  }
}

std::string HangWatch::describe(std::int64_t rank) const {
  return fmt::format("rank {} ({})", rank, hosts_[static_cast<std::size_t>(rank)]);
}

std::string HangWatch::describe_others(const std::vector<std::int64_t>& culprits) const {
  std::map<std::string, std::int64_t> groups;
  for (std::size_t rank = 0; rank < ranks_.size(); ++rank) {
    const bool is_culprit = std::binary_search(culprits.begin(), culprits.end(), rank);
    if (!is_culprit && ranks_[rank].was_heard) ++groups[busy_with(ranks_[rank].now)];
  }
  std::string text;
  std::size_t told = 0;
  for (const auto& [what, num] : groups) {
    if (++told > kMostTold) return text + "; and so on";
    text += fmt::format("; {} {} {}", num, num == 1 ? "other is" : "others are", what);
  }
  return text;
}

std::optional<Hang> HangWatch::look(double now_s,
                                    const std::function<std::string(double ago_s)>& clock) const {
  const double still_s = now_s - ranks_.front().changed_s;
  if (still_s < timeout_s_) return std::nullopt;
  std::vector<std::int64_t> silent, busy, all;
  for (std::size_t i = 0; i < ranks_.size(); ++i) {
    const auto rank = static_cast<std::int64_t>(i);
    const Rank& of = ranks_[i];
    all.push_back(rank);
    if (i > 0 && now_s - of.heard_s >= silence_s_) silent.push_back(rank);
    // One that has done something new since is not what rank 0 waits for.
    const bool stands_still = of.was_heard && of.changed_s <= ranks_.front().changed_s + silence_s_;
    if (stands_still && !is_wait_for_others(of.now.activity)) busy.push_back(rank);
  }
  Hang hang;
  hang.seconds = still_s;
  hang.ranks = !silent.empty() ? silent : !busy.empty() ? busy : all;
  const Rank& first = ranks_[static_cast<std::size_t>(hang.ranks.front())];
  hang.host = hosts_[static_cast<std::size_t>(hang.ranks.front())];
  hang.activity = first.was_heard ? doing(first.now) : "";
  std::string text = fmt::format("no progress for {}: ", human_duration(still_s));
  if (hang.ranks.size() == all.size() && silent.empty() && busy.empty()) {
    text += all.size() == 1 ? fmt::format("{} is {}", describe(0), busy_with(first.now))
                            : "every rank waits for others" + describe_others({});
    hang.text = text;
    return hang;
  }
  for (std::size_t i = 0; i < hang.ranks.size() && i < kMostTold; ++i) {
    const std::int64_t rank = hang.ranks[i];
    const Rank& of = ranks_[static_cast<std::size_t>(rank)];
    text += (i > 0 ? "; " : "") + describe(rank);
    if (silent.empty())
      text += fmt::format(" is {} since {}", busy_with(of.now), clock(now_s - of.changed_s));
    else if (of.was_heard)
      text += fmt::format(" is not heard since {}, last {}", clock(now_s - of.heard_s),
                          busy_with(of.now));
    else
      text += " was never heard";
  }
  if (hang.ranks.size() > kMostTold)
    text += fmt::format("; and others: {}", log::describe_ranks(hang.ranks));
  hang.text = text + describe_others(hang.ranks);
  return hang;
}

}  // namespace espalier::train
