#pragma once
#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <vector>

namespace espalier::train {

/// What a rank's watchdog tells of its main thread.
struct RankNow {
  std::string activity;
  std::int64_t step = 0;      ///< being computed; 0: none
  std::uint64_t changes = 0;  ///< activity::Now::changes
};

/// A job that does not get on, and why.
struct Hang {
  std::vector<std::int64_t> ranks;  ///< that the others wait for; all of them when all wait
  std::string host;                 ///< of the first of them
  std::string activity;             ///< what that one does, or did when it was last heard
  double seconds = 0.0;             ///< since the main thread of rank 0 has done anything new
  std::string text;                 ///< a sentence for a person
};

/// Whether an activity is that of a rank which waits for others: a collective.
bool is_wait_for_others(const std::string& activity);

/// What rank 0 knows of all ranks, and its judgement. Arithmetic alone: the caller says what time
/// it is, in seconds from any moment on.
///
/// The ranks of a training meet in every step, so that rank 0 stands still when any of them does.
/// Only this is taken for a hang: a network that loses all datagrams ends no job. Then the ranks
/// that are no longer heard are named; else those that do something else than wait for others; else
/// all of them.
class HangWatch {
 public:
  /// A rank is no longer heard when nothing came for `silence_s`.
  HangWatch(std::vector<std::string> hosts, double timeout_s, double silence_s, double now_s);
  /// Of any rank, this one (0) included.
  void heard(std::int64_t rank, const RankNow& rank_now, double now_s);
  /// For so long this process was stopped itself, or had no processor: no rank is to blame.
  void pause(double seconds);
  /// `clock`: the time of day of a moment, for the sentence.
  std::optional<Hang> look(double now_s,
                           const std::function<std::string(double ago_s)>& clock) const;

 private:
  struct Rank {
    RankNow now;
    double heard_s = 0.0;    ///< when last
    double changed_s = 0.0;  ///< when it last had another number of changes
    bool was_heard = false;
  };
  std::string describe(std::int64_t rank) const;
  std::string describe_others(const std::vector<std::int64_t>& culprits) const;

  std::vector<std::string> hosts_;
  double timeout_s_, silence_s_;
  std::vector<Rank> ranks_;
};

}  // namespace espalier::train
