#include <algorithm>
#include <catch2/catch.hpp>
#include <cstdint>
#include <optional>

#include "base/random.hpp"
#include "train/deadline.hpp"

using namespace espalier;
using train::Deadline;

namespace {

/// Steps of `period`, of which `rest` comes after the look; returns the time of the last look.
double make_steps(Deadline& deadline, double now, int num, double period, double rest) {
  for (int i = 0; i < num; ++i) {
    deadline.look(now);
    deadline.step_done(now + rest);
    now += period;
  }
  deadline.look(now);
  return now;
}

}  // namespace

TEST_CASE("a job that has done nothing needs what a save is expected to take") {
  Deadline deadline;
  CHECK(deadline.needed_in_step_s(0.0, false) == 0.0);
  deadline.expect_save(7.0);
  CHECK(deadline.needed_in_step_s(0.0, false) == 7.0);
  CHECK(deadline.needed_between_steps_s(0.0, 2.0, false) == 9.0);
}

TEST_CASE("another step, its rest and a save must fit") {
  Deadline deadline;
  deadline.save_began(0.0);
  deadline.save_done(5.0);
  const double now = make_steps(deadline, 10.0, 3, 2.0, 0.5);
  CHECK(deadline.period_s() == Approx(2.0));
  CHECK(deadline.rest_s() == Approx(0.5));
  // Of two steps the slowest does not say much: a quarter more.
  CHECK(deadline.needed_in_step_s(now, false) == Approx(1.25 * (2.0 + 0.5) + 5.0));
  // A save that begins after this step goes on beside the next one, and the last one waits for it.
  CHECK(deadline.needed_in_step_s(now, true) == Approx(5.0 + 5.0));
}

TEST_CASE("at the look of the first step its time so far is what is known") {
  Deadline deadline;
  deadline.begin(100.0);
  deadline.look(113.0);
  CHECK(deadline.needed_in_step_s(113.0, false) >= 13.0);
}

TEST_CASE("of a save that is under way counts what is left") {
  Deadline deadline;
  deadline.save_began(0.0);
  deadline.save_done(8.0);
  make_steps(deadline, 10.0, 3, 1.0, 0.0);
  deadline.save_began(20.0);
  CHECK(deadline.save_left_s(21.0) == Approx(7.0));
  CHECK(deadline.needed_in_step_s(21.0, false) == Approx(7.0 + 8.0));
  CHECK(deadline.needed_in_step_s(27.5, false) == Approx(2.0 + 8.0));  // nearly over: or not
  // In a validation the state is the one that is being saved.
  CHECK(deadline.needed_between_steps_s(21.0, 3.0, true) == Approx(7.0));
  CHECK(deadline.needed_between_steps_s(21.0, 30.0, true) == Approx(30.0));
  CHECK(deadline.needed_between_steps_s(21.0, 3.0, false) == Approx(7.0 + 8.0));
  deadline.save_done(28.0);
  CHECK(deadline.needed_between_steps_s(28.0, 3.0, true) == Approx(3.0));
}

TEST_CASE("one slow start does not stop a job early, and a slow step is forgotten after a while") {
  Deadline deadline;
  deadline.look(0.0);
  double now = make_steps(deadline, 100.0, 1, 1.0, 0.0);
  CHECK(deadline.period_s() == Approx(100.0));  // nothing better is known
  now = make_steps(deadline, now + 1.0, 1, 1.0, 0.0);
  CHECK(deadline.period_s() == Approx(1.0));
  now = make_steps(deadline, now + 30.0, 1, 1.0, 0.0);
  CHECK(deadline.period_s() == Approx(30.0));
  now = make_steps(deadline, now + 1.0, 20, 1.0, 0.0);
  CHECK(deadline.period_s() == Approx(30.0));
  make_steps(deadline, now + 1.0, 20, 1.0, 0.0);
  CHECK(deadline.period_s() == Approx(1.0));
}

TEST_CASE("a validation between two looks is no part of a step") {
  Deadline deadline;
  double now = make_steps(deadline, 0.0, 5, 1.0, 0.0);
  deadline.leave_out(50.0);
  now += 51.0;
  deadline.look(now);
  CHECK(deadline.period_s() == Approx(1.0));
}

TEST_CASE("a job stops at the last step after which a checkpoint fits") {
  // Steps and saves of many sizes and a little noise: never too late, and never so early that a
  // save and three steps would have fitted, too.
  const RandomStream random(1, "deadline");
  std::uint64_t num_drawn = 0;
  for (int trial = 0; trial < 200; ++trial) {
    const auto draw = [&](double low, double high) {
      return low + (high - low) * random.uniform(num_drawn++);
    };
    const double step = draw(0.1, 10.0), save = draw(0.1, 60.0), limit = draw(200.0, 900.0);
    const std::int64_t interval = trial % 3 == 0 ? 0 : 1 + trial % 17;
    Deadline deadline;
    deadline.expect_save(save);
    double now = 0.0;
    deadline.begin(now);
    std::optional<double> save_end;
    const auto finish_save = [&] {
      if (save_end) now = std::max(now, *save_end);
      if (save_end) deadline.save_done(*save_end);
      save_end.reset();
    };
    for (std::int64_t n = 1;; ++n) {
      now += 0.8 * step * draw(0.95, 1.0);
      if (save_end && now >= *save_end) finish_save();
      deadline.look(now);
      const bool is_due = interval > 0 && n % interval == 0;
      const bool stops = now + deadline.needed_in_step_s(now, is_due) > limit;
      now += 0.2 * step * draw(0.95, 1.0);
      deadline.step_done(now);
      if (!stops && !is_due) continue;
      finish_save();
      deadline.save_began(now);
      save_end = now + save * draw(0.95, 1.0);
      if (stops) break;
    }
    finish_save();
    CAPTURE(trial, step, save, limit, interval);
    // A step or a save that is slower than all before it is what the margin is for.
    CHECK(now <= limit + 0.05 * (2.0 * step + save));
    CHECK(limit - now < save + 3.0 * step);
  }
}
