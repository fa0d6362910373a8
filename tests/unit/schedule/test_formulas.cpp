// Times and live slots against formulas. Durations are whole numbers times all v, so that every
// time is exact and formulas are compared for equality.
#include <catch2/catch.hpp>

#include "every_shape.hpp"
#include "parallel/schedule/simulation.hpp"

using namespace espalier::pipeline;

namespace {

struct Times {
  double forward, inputs, weights;
  double all() const { return forward + inputs + weights; }
};
constexpr double kUnit = 12.0;  // divided by every v up to 4

Simulation run(ScheduleKind kind, const PipelineShape& shape, const Times& t) {
  const Schedule schedule = make_schedule(kind, shape);
  Simulation simulation =
      simulate(schedule, even_durations(schedule.placement, t.forward, t.inputs, t.weights));
  REQUIRE(simulation.deadlock.empty());
  return simulation;
}

/// makespan - m (F + B + W)
double bubble_time(ScheduleKind kind, const PipelineShape& shape, const Times& t) {
  return run(kind, shape, t).makespan - shape.micro_batches * t.all();
}

/// F = B = W; activations recomputed in B; and two where the three differ little.
constexpr Times kTimes[] = {{kUnit, kUnit, kUnit},
                            {kUnit, 2 * kUnit, kUnit},
                            {10 * kUnit, 12 * kUnit, 8 * kUnit},
                            {10 * kUnit, 11 * kUnit, 9 * kUnit}};

/// Live chunks of every rank, in order.
std::vector<int> live_of(ScheduleKind kind, const PipelineShape& shape) {
  std::vector<int> live;
  for (const RankSimulation& rank : run(kind, shape, kTimes[0]).ranks)
    live.push_back(rank.most.activations);
  return live;
}

}  // namespace

TEST_CASE("makespans of schedules with whole backwards are those of the formulas", "[makespan]") {
  for_every_shape([](ScheduleKind kind, const PipelineShape& s) {
    if (kind != ScheduleKind::gpipe && kind != ScheduleKind::one_f_one_b &&
        kind != ScheduleKind::interleaved)
      return;
    INFO(name_of(kind) << " p " << s.ranks << " m " << s.micro_batches << " v " << s.chunks);
    for (const Times& t : kTimes)
      REQUIRE(bubble_time(kind, s, t) == (s.ranks - 1) * t.all() / s.chunks);
  });
}

TEST_CASE("makespans of schedules that put W off are those of the formulas", "[makespan]") {
  for_every_shape([](ScheduleKind kind, const PipelineShape& s) {
    if ((kind != ScheduleKind::zb_h1 && kind != ScheduleKind::zb1p) || s.micro_batches < s.ranks)
      return;
    INFO(name_of(kind) << " p " << s.ranks << " m " << s.micro_batches << " v " << s.chunks);
    for (const Times& t : kTimes)
      CHECK(bubble_time(kind, s, t) ==
            (s.ranks - 1) * (t.forward + t.inputs - t.weights) / s.chunks);
  });
}

TEST_CASE("makespans of the V schedules are those of the formulas", "[makespan]") {
  for_every_shape([](ScheduleKind kind, const PipelineShape& s) {
    const int p = s.ranks, m = s.micro_batches;
    INFO(name_of(kind) << " p " << p << " m " << m);
    if (kind == ScheduleKind::zb_v && m >= 2 * p - 1)
      for (const Times& t : kTimes) CHECK(bubble_time(kind, s, t) == (p - 1) * t.inputs / 2);
    if (kind == ScheduleKind::dualpipe_v)
      CHECK(bubble_time(kind, s, kTimes[0]) == (p - 1) * kUnit / 2);
  });
}

TEST_CASE("which times the formulas hold for", "[makespan]") {
  for (const int p : {2, 5, 8})
    for (int f = 1; f <= 5; ++f)
      for (int b = 1; b <= 5; ++b)
        for (int w = 1; w <= 5; ++w) {
          const Times t{kUnit * f, kUnit * b, kUnit * w};
          const auto bubble = [&](ScheduleKind kind) {
            return bubble_time(
                kind, {.ranks = p, .micro_batches = 2 * p, .chunks = default_chunks(kind)}, t);
          };
          INFO("p " << p << " F " << f << " B " << b << " W " << w);
          CHECK(bubble(ScheduleKind::one_f_one_b) == (p - 1) * t.all());
          CHECK(bubble(ScheduleKind::interleaved) == (p - 1) * t.all() / 2);
          // W put off fills gaps that are as long as the shorter of F and B.
          const double put_off = (p - 1) * (t.forward + t.inputs - t.weights);
          const bool fits = w <= std::min(f, b);
          CHECK((bubble(ScheduleKind::zb_h1) == put_off) == fits);
          CHECK((bubble(ScheduleKind::zb1p) == put_off / 2) == fits);
          if (b >= std::max(f, w) && b <= w + std::min(f, w))
            CHECK(bubble(ScheduleKind::zb_v) == (p - 1) * t.inputs / 2);
        }
}

TEST_CASE("live slots are those of the formulas", "[live]") {
  for_every_shape([](ScheduleKind kind, const PipelineShape& s) {
    const int p = s.ranks, m = s.micro_batches, v = s.chunks;
    INFO(name_of(kind) << " p " << p << " m " << m << " v " << v);
    std::vector<int> expected;
    for (int r = 0; r < p; ++r) switch (kind) {
        case ScheduleKind::gpipe:
          expected.push_back(m);
          break;
        case ScheduleKind::one_f_one_b:
          expected.push_back(std::min(p - r, m));
          break;
        case ScheduleKind::interleaved:
          expected.push_back(std::min((v - 1) * p + 2 * (p - r - 1) + 1, m * v));
          break;
        case ScheduleKind::zb_h1:
        case ScheduleKind::zb1p:
          expected.push_back(std::min(v * p, m * v));
          break;
        case ScheduleKind::zb_v:
          expected.push_back(std::min({2 * p, m + r + 1, 2 * m}));
          break;
        case ScheduleKind::dualpipe_v:
          expected.push_back(2 * p + 1);
          break;
      }
    CHECK(live_of(kind, s) == expected);
  });
}

TEST_CASE("published figures: 8 ranks, 32 micro-batches, F = B = W", "[makespan]") {
  const auto percent = [](ScheduleKind kind, int v) {
    return 100.0 * run(kind, {.ranks = 8, .micro_batches = 32, .chunks = v}, {kUnit, kUnit, kUnit})
                       .bubble();
  };
  CHECK(percent(ScheduleKind::one_f_one_b, 1) == Approx(17.95).margin(0.005));
  CHECK(percent(ScheduleKind::interleaved, 2) == Approx(9.86).margin(0.005));
  CHECK(percent(ScheduleKind::interleaved, 4) == Approx(5.19).margin(0.005));
  CHECK(percent(ScheduleKind::zb_h1, 1) == Approx(6.80).margin(0.005));
  CHECK(percent(ScheduleKind::zb1p, 2) == Approx(3.52).margin(0.005));
  CHECK(percent(ScheduleKind::zb_v, 2) == Approx(3.52).margin(0.005));
  CHECK(percent(ScheduleKind::dualpipe_v, 2) == Approx(3.52).margin(0.005));
  // Unequal times: torch's own list of DualPipeV, simulated without overlap.
  CHECK(bubble_time(ScheduleKind::dualpipe_v, {.ranks = 8, .micro_batches = 32, .chunks = 2},
                    {2.0, 4.0, 2.0}) == Approx(1.43 * 7 * 2).margin(0.005 * 14));
}

TEST_CASE("stages that differ, and messages that take time", "[simulation]") {
  // Two ranks, one micro-batch: a chain whose length is counted by hand.
  const Schedule one = make_schedule(ScheduleKind::zb_h1, {.ranks = 2, .micro_batches = 1});
  const Simulation s =
      simulate(one, {.forward = {1, 2}, .inputs = {4, 8}, .weights = {16, 32}, .message = 64});
  CHECK(s.makespan == 1 + 64 + 2 + 8 + std::max(64 + 4 + 16, 32));
  CHECK(s.ideal == 42);
  CHECK(s.ranks[0].busy == 21);
  CHECK(s.ranks[0].idle == s.makespan - 21);
  CHECK(s.bubble() == Approx(1.0 - 63.0 / (2 * s.makespan)));
  // What is kept, and since when.
  const std::vector<LiveSlots>& live = s.ranks[1].live;
  REQUIRE(live.size() == 3);
  CHECK((live[0].time == 65 && live[0].activations == 1 && live[0].weight_inputs == 0));
  CHECK((live[1].time == 67 && live[1].activations == 1 && live[1].weight_inputs == 1));
  CHECK((live[2].time == 107 && live[2].activations == 0 && live[2].weight_inputs == 0));
  // Of a whole backward, the gradient leaves at its end.
  const Schedule whole = make_schedule(ScheduleKind::one_f_one_b, {.ranks = 2, .micro_batches = 1});
  CHECK(simulate(whole, {.forward = {1, 2}, .inputs = {4, 8}, .weights = {16, 32}, .message = 0})
            .makespan == 1 + 2 + 40 + 20);
}
