#pragma once
#include <cstddef>
#include <deque>
#include <optional>

namespace espalier::train {

/// How long the steps and saves of a job take, as measured, to stop it at the last step after
/// which a checkpoint still fits. Arithmetic alone: the caller says what time it is, in seconds
/// from any moment on.
///
///   | rest of step n | what is due at n | step n+1 to its look | rest of step n+1 | checkpoint |
///   ^ look of step n                                          ^ look of step n+1
///
/// A look is the exchange of the ranks in the middle of each step, the only place where they can
/// agree to stop; the step is then made whole. So at the look of step n all of the above must fit
/// before the limit, or step n is the last one.
class Deadline {
 public:
  void begin(double now_s);  ///< of the first step of the job
  void look(double now_s);   ///< the exchange in a step
  void step_done(double now_s);
  /// Since the last look so much went into what has looks of its own (a validation).
  void leave_out(double seconds);
  void save_began(double now_s);
  void save_done(double now_s);
  /// What a save is taken to need until one has been measured.
  void expect_save(double seconds);

  /// From a look to the next, and from a look to the end of its step: the slowest of the last
  /// kWindow, without the job's first, which builds what later steps use, as soon as there are two
  /// others. 0 before any.
  double period_s() const;
  double rest_s() const;
  /// The slowest of the last saves.
  double save_s() const;
  /// Of the save that is under way.
  double save_left_s(double now_s) const;

  /// At the look of step n: see above. `save_is_due`: a save begins after this step.
  double needed_in_step_s(double now_s, bool save_is_due) const;
  /// Between steps, before something of `next_s`; `is_saved`: a save of the state as it is now has
  /// begun.
  double needed_between_steps_s(double now_s, double next_s, bool is_saved) const;

 private:
  static constexpr std::size_t kWindow = 32, kSaves = 4;
  std::deque<double> periods_, rests_, saves_;
  bool has_first_period_ = false, has_first_rest_ = false;
  std::optional<double> last_look_s_, save_began_s_;
  double left_out_s_ = 0.0;
  double expected_save_s_ = 0.0;
};

}  // namespace espalier::train
