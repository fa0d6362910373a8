#include "train/deadline.hpp"

#include <algorithm>

namespace espalier::train {
namespace {

/// Keeps the last `most`; the first of all goes as soon as two others are there.
void keep(std::deque<double>& window, std::size_t most, bool& has_first, double value) {
  const bool is_first = window.empty();
  window.push_back(value);
  if (is_first) {
    has_first = true;
  } else if (window.size() > most || (has_first && window.size() > 2)) {
    window.pop_front();
    has_first = false;
  }
}

double slowest(const std::deque<double>& window) {
  return window.empty() ? 0.0 : *std::max_element(window.begin(), window.end());
}

}  // namespace

void Deadline::begin(double now_s) {
  last_look_s_ = now_s;
}

void Deadline::look(double now_s) {
  if (last_look_s_) keep(periods_, kWindow, has_first_period_, now_s - *last_look_s_ - left_out_s_);
  last_look_s_ = now_s;
  left_out_s_ = 0.0;
}

void Deadline::step_done(double now_s) {
  if (last_look_s_) keep(rests_, kWindow, has_first_rest_, now_s - *last_look_s_);
}

void Deadline::leave_out(double seconds) {
  left_out_s_ += seconds;
}

void Deadline::save_began(double now_s) {
  save_began_s_ = now_s;
}

void Deadline::save_done(double now_s) {
  if (!save_began_s_) return;
  bool no_first = false;
  keep(saves_, kSaves, no_first, now_s - *save_began_s_);
  save_began_s_.reset();
}

void Deadline::expect_save(double seconds) {
  expected_save_s_ = seconds;
}

double Deadline::period_s() const {
  return slowest(periods_);
}

double Deadline::rest_s() const {
  return slowest(rests_);
}

double Deadline::save_s() const {
  return saves_.empty() ? expected_save_s_ : slowest(saves_);
}

double Deadline::save_left_s(double now_s) const {
  if (!save_began_s_) return 0.0;
  // One that takes longer than those before may end at any moment, or not.
  return std::max(save_s() - (now_s - *save_began_s_), 0.25 * save_s());
}

double Deadline::needed_in_step_s(double now_s, bool save_is_due) const {
  // A save begins when the one before has ended, and the step after waits for that.
  const double stall_s = save_is_due ? save_left_s(now_s) : 0.0;
  // The fewer steps are known, the less the slowest of them says of the next.
  const double caution = periods_.empty() ? 1.0 : 1.0 + 0.5 / static_cast<double>(periods_.size());
  const double steps_end_s = stall_s + caution * (period_s() + rest_s());
  const double saves_end_s = save_left_s(now_s) + (save_is_due ? save_s() : 0.0);
  return std::max(steps_end_s, saves_end_s) + save_s();
}

double Deadline::needed_between_steps_s(double now_s, double next_s, bool is_saved) const {
  return std::max(next_s, save_left_s(now_s)) + (is_saved ? 0.0 : save_s());
}

}  // namespace espalier::train
