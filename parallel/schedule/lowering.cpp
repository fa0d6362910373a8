#include "parallel/schedule/lowering.hpp"

#include <algorithm>
#include <cstdlib>
#include <map>
#include <optional>
#include <utility>

#include "base/integers.hpp"
#include "parallel/schedule/needs.hpp"

namespace espalier::pipeline {
namespace {

/// Numbers for intervals, the lowest that is free: as many as intervals overlap at most.
class SlotNumbers {
 public:
  int take() {
    if (free_.empty()) return num_++;
    const auto lowest = std::min_element(free_.begin(), free_.end());
    const int slot = *lowest;
    free_.erase(lowest);
    return slot;
  }
  void give_back(int slot) { free_.push_back(slot); }
  int num() const { return num_; }

 private:
  std::vector<int> free_;
  int num_ = 0;
};

/// The stage that an action takes its input from.
std::optional<int> stage_before(const Action& a, int num_stages) {
  if (is_forward(a) && a.stage > 0) return a.stage - 1;
  if (makes_input_gradients(a) && a.stage + 1 < num_stages) return a.stage + 1;
  return {};
}
/// The stage that takes in what the action makes.
std::optional<int> stage_behind(const Action& a, int num_stages) {
  if (is_forward(a) && a.stage + 1 < num_stages) return a.stage + 1;
  if (makes_input_gradients(a) && a.stage > 0) return a.stage - 1;
  return {};
}

/// One rank's steps in the making.
class Lowering {
 public:
  Lowering(const Schedule& schedule, int rank, const Links& links)
      : kind_(schedule.kind),
        placement_(schedule.placement),
        list_(schedule.actions[static_cast<std::size_t>(rank)]),
        rank_(rank),
        links_(links) {
    if (!links.early && !links.blocking) needs_.emplace(schedule, rank);
  }

  RankProgram run() {
    find_receives();
    post_receives();
    for (const Action& a : list_) {
      lower(a);
      ++num_done_;
      post_receives();
    }
    for (const Step& open : open_sends_) finish_send(open);
    program_.buffers.slots = slots_.num();
    program_.buffers.weight_slots = weight_slots_.num();
    program_.buffers.local = local_.num();
    return std::move(program_);
  }

 private:
  /// A link is a direction and the chunk at this end.
  using Link = std::pair<bool, int>;
  struct Receives {
    struct Taker {
      Action action;
      int place;  ///< in the list
      int needs;  ///< actions of this rank that the message needs
    };
    std::vector<Taker> takers;  ///< in the order of the list
    int buffers = 0, posted = 0, taken = 0, done = 0;
  };

  Link link_of(const Action& a) const { return {is_forward(a), placement_.chunk_of(a.stage)}; }
  bool is_here(int stage) const { return placement_.rank_of(stage) == rank_; }
  /// The name of a message at both ends.
  static Action message(const Action& a, int taking_stage) {
    return {is_forward(a) ? ActionKind::forward : ActionKind::backward_inputs, taking_stage,
            a.micro_batch};
  }
  static std::pair<int, int> key_of(const Action& a) { return {a.stage, a.micro_batch}; }

  void find_receives() {
    for (std::size_t i = 0; i < list_.size(); ++i) {
      const Action& a = list_[i];
      const auto from = stage_before(a, placement_.num_stages());
      if (!from || is_here(*from)) continue;
      Receives& receives = receives_[link_of(a)];
      const int needs = needs_ ? needs_->before(message(a, a.stage)) : 0;
      receives.takers.push_back({a, narrow<int>(i), needs});
      receives.buffers = num_buffers(placement_.rank_of(*from));
    }
    for (const auto& [link, receives] : receives_)
      program_.buffers.received += std::min(receives.buffers, narrow<int>(receives.takers.size()));
  }
  /// Of the link with a rank.
  int num_buffers(int peer) const {
    if (links_.blocking) return 1;
    if (links_.buffers > 0) return links_.buffers;
    const bool is_round = std::abs(peer - rank_) > 1;  // from the last rank to the first, or back
    return kind_ == ScheduleKind::zb1p && is_round ? (placement_.ranks + 1) / 2 : 2;
  }

  /// All that can be, in the order in which they are needed.
  void post_receives() {
    if (links_.blocking) return;
    while (true) {
      const Receives::Taker* first = nullptr;
      for (const auto& [link, r] : receives_) {
        if (r.posted == std::ssize(r.takers) || r.posted - r.done == r.buffers) continue;
        const Receives::Taker& next = r.takers[static_cast<std::size_t>(r.posted)];
        if (next.needs <= num_done_ && (first == nullptr || next.place < first->place))
          first = &next;
      }
      if (first == nullptr) return;
      post_receive(first->action);
    }
  }

  void post_receive(const Action& a) {
    Receives& receives = receives_[link_of(a)];
    const int buffer = receives.posted++ % receives.buffers;
    program_.steps.push_back({.kind = StepKind::post_receive,
                              .action = message(a, a.stage),
                              .peer = placement_.rank_of(*stage_before(a, placement_.num_stages())),
                              .buffer = buffer});
  }

  void lower(const Action& a) {
    Step compute{.kind = StepKind::compute, .action = a};
    const auto from = stage_before(a, placement_.num_stages());
    const auto to = stage_behind(a, placement_.num_stages());
    if (from) take_input(a, *from, compute);
    if (to) make_room_for_output(a, *to, compute);
    take_slots(a, compute);
    program_.steps.push_back(compute);
    give_slots_back(a, compute);
    if (compute.input_is_local) local_.give_back(compute.input);
    if (to && !is_here(*to)) send(a, *to, compute.output);
    if (from && !is_here(*from)) ++receives_[link_of(a)].done;
  }

  void take_input(const Action& a, int from, Step& compute) {
    if (is_here(from)) {
      const auto found = handed_on_.find({is_forward(a), key_of(a)});
      ESPALIER_ASSERT(found != handed_on_.end(), "{} comes before what it needs", describe(a));
      compute.input = found->second;
      compute.input_is_local = true;
      handed_on_.erase(found);
      return;
    }
    if (links_.blocking) post_receive(a);
    Receives& receives = receives_[link_of(a)];
    compute.input = receives.taken++ % receives.buffers;
    program_.steps.push_back({.kind = StepKind::wait_receive,
                              .action = message(a, a.stage),
                              .peer = placement_.rank_of(from),
                              .buffer = compute.input});
  }

  void make_room_for_output(const Action& a, int to, Step& compute) {
    compute.output_is_local = is_here(to);
    if (is_here(to)) {
      compute.output = local_.take();
      handed_on_[{is_forward(a), {to, a.micro_batch}}] = compute.output;
      return;
    }
    int& sent = num_sent_[link_of(a)];
    const int buffers = num_buffers(placement_.rank_of(to));
    compute.output = sent % buffers;
    if (sent < buffers) ++program_.buffers.sent;
    if (sent++ < buffers || links_.blocking) return;
    const auto open = std::find_if(open_sends_.begin(), open_sends_.end(), [&](const Step& step) {
      return step.buffer == compute.output && is_forward(step.action) == is_forward(a) &&
             step.action.stage == to;
    });
    ESPALIER_ASSERT(open != open_sends_.end(), "buffer {} of {} was never sent", compute.output,
                    describe(a));
    finish_send(*open);
    open_sends_.erase(open);
  }

  void send(const Action& a, int to, int buffer) {
    const Step step{.kind = StepKind::post_send,
                    .action = message(a, to),
                    .peer = placement_.rank_of(to),
                    .buffer = buffer};
    program_.steps.push_back(step);
    ++program_.num_messages;
    if (links_.blocking)
      finish_send(step);
    else
      open_sends_.push_back(step);
  }
  void finish_send(Step step) {
    step.kind = StepKind::wait_send;
    program_.steps.push_back(step);
  }

  void take_slots(const Action& a, Step& compute) {
    if (is_forward(a)) {
      compute.slot = slots_.take();
      kept_[key_of(a)] = {compute.slot, -1};
      return;
    }
    const auto kept = kept_.find(key_of(a));
    ESPALIER_ASSERT(kept != kept_.end(), "{} comes before its F", describe(a));
    if (a.kind == ActionKind::backward_inputs) kept->second.second = weight_slots_.take();
    compute.slot = kept->second.first;
    compute.weight_slot = kept->second.second;
  }
  void give_slots_back(const Action& a, const Step& compute) {
    if (!makes_weight_gradients(a)) return;
    slots_.give_back(compute.slot);
    if (compute.weight_slot >= 0) weight_slots_.give_back(compute.weight_slot);
    kept_.erase(key_of(a));
  }

  ScheduleKind kind_;
  const Placement& placement_;
  const std::vector<Action>& list_;
  int rank_;
  Links links_;
  std::optional<Needs> needs_;  ///< none: nothing is needed
  int num_done_ = 0;            ///< actions of the list
  RankProgram program_;
  SlotNumbers slots_, weight_slots_, local_;
  std::map<std::pair<int, int>, std::pair<int, int>> kept_;        ///< slots of what is under way
  std::map<std::pair<bool, std::pair<int, int>>, int> handed_on_;  ///< local buffers, by taker
  std::map<Link, Receives> receives_;
  std::map<Link, int> num_sent_;
  std::vector<Step> open_sends_;  ///< posted and not waited for
};

}  // namespace

Program lower(const Schedule& schedule, const Links& links) {
  ESPALIER_ASSERT(links.buffers >= 0, "{} buffers", links.buffers);
  Program program{
      .placement = schedule.placement, .micro_batches = schedule.micro_batches, .ranks = {}};
  for (int rank = 0; rank < schedule.placement.ranks; ++rank)
    program.ranks.push_back(lower_rank(schedule, rank, links));
  return program;
}

RankProgram lower_rank(const Schedule& schedule, int rank, const Links& links) {
  return Lowering(schedule, rank, links).run();
}

}  // namespace espalier::pipeline
