// The lists: every action once, in an order that is possible and exact; and the mistakes that are
// found in others.
#include <catch2/catch.hpp>
#include <map>
#include <set>

#include "../../support/expect_error.hpp"
#include "every_shape.hpp"
#include "parallel/schedule/simulation.hpp"

using namespace espalier;
using namespace espalier::pipeline;

namespace {

std::string name(ScheduleKind kind, const PipelineShape& s) {
  return std::string(name_of(kind)) + " p " + std::to_string(s.ranks) + " m " +
         std::to_string(s.micro_batches) + " v " + std::to_string(s.chunks);
}

/// The list of a rank as text: "F0.1" is the forward of chunk 0 of micro-batch 1.
std::string text_of(const Schedule& schedule, int rank) {
  constexpr std::array<const char*, 4> kKinds = {"F", "BW", "B", "W"};
  std::string text;
  for (const Action& a : schedule.actions[static_cast<std::size_t>(rank)])
    text += (text.empty() ? "" : " ") + std::string(kKinds[static_cast<std::size_t>(a.kind)]) +
            (schedule.placement.chunks == 1
                 ? ""
                 : std::to_string(schedule.placement.chunk_of(a.stage)) + ".") +
            std::to_string(a.micro_batch);
  return text;
}

Schedule small(ScheduleKind kind) {
  return make_schedule(kind, {.ranks = 2, .micro_batches = 4, .chunks = default_chunks(kind)});
}

Action& find(Schedule& schedule, const Action& action) {
  for (auto& list : schedule.actions)
    for (Action& a : list)
      if (a == action) return a;
  FAIL(describe(action));
  return schedule.actions[0][0];
}

std::string all_mistakes(const Schedule& schedule) {
  std::string text;
  for (const std::string& mistake : mistakes_of(schedule)) text += mistake + "\n";
  return text;
}

}  // namespace

TEST_CASE("every stage has each of its actions once, on its rank, after what it needs", "[lists]") {
  // Counted here apart from mistakes_of, which this also shows to be content.
  for_every_shape([](ScheduleKind kind, const PipelineShape& shape) {
    const Schedule schedule = make_schedule(kind, shape);
    INFO(name(kind, shape));
    const int stages = shape.ranks * shape.chunks;
    std::vector<int> forward(static_cast<std::size_t>(stages), 0), inputs = forward,
                                                                   weights = forward;
    bool once = true;
    for (int rank = 0; rank < shape.ranks; ++rank)
      for (const Action& a : schedule.actions[static_cast<std::size_t>(rank)]) {
        const auto s = static_cast<std::size_t>(a.stage);
        once = once && schedule.placement.rank_of(a.stage) == rank;
        // Each kind in ascending order, hence each micro-batch once.
        if (is_forward(a)) once = once && a.micro_batch == forward[s]++;
        if (makes_input_gradients(a))
          once = once && a.micro_batch == inputs[s]++ && inputs[s] <= forward[s];
        if (makes_weight_gradients(a))
          once = once && a.micro_batch == weights[s]++ && weights[s] <= inputs[s];
      }
    REQUIRE(once);
    const std::vector<int> all(static_cast<std::size_t>(stages), shape.micro_batches);
    REQUIRE(forward == all);
    REQUIRE(inputs == all);
    REQUIRE(weights == all);
    REQUIRE(all_mistakes(schedule).empty());
  });
}

TEST_CASE("lists are those of the papers", "[lists]") {
  const auto list = [](ScheduleKind kind, int p, int m, int v, int rank) {
    return text_of(make_schedule(kind, {.ranks = p, .micro_batches = m, .chunks = v}), rank);
  };
  CHECK(list(ScheduleKind::gpipe, 2, 3, 1, 0) == "F0 F1 F2 BW0 BW1 BW2");
  // PARALLEL: p 4, m 6, rank 2.
  CHECK(list(ScheduleKind::one_f_one_b, 4, 6, 1, 2) == "F0 F1 BW0 F2 BW1 F3 BW2 F4 BW3 F5 BW4 BW5");
  CHECK(list(ScheduleKind::zb_h1, 4, 6, 1, 2) ==
        "F0 F1 B0 F2 B1 F3 B2 W0 F4 B3 W1 F5 B4 W2 B5 W3 W4 W5");
  // Narayanan et al. 2021, figure 4: p 4, v 2, the last rank. Its warm-up is all of chunk 0.
  CHECK(list(ScheduleKind::interleaved, 4, 8, 2, 3).substr(0, 60) ==
        "F0.0 F0.1 F0.2 F0.3 F1.0 BW1.0 F1.1 BW1.1 F1.2 BW1.2 F1.3 BW");
  CHECK(list(ScheduleKind::zb1p, 2, 2, 2, 1) ==
        "F0.0 F0.1 F1.0 B1.0 F1.1 B1.1 W1.0 B0.0 W1.1 B0.1 W0.0 W0.1");
  CHECK(list(ScheduleKind::zb_v, 2, 4, 2, 0) ==
        "F0.0 F0.1 F0.2 F1.0 B1.0 W1.0 F1.1 B1.1 W1.1 F0.3 B0.0 W0.0 F1.2 B1.2 W1.2 B0.1 W0.1 F1.3 "
        "B1.3 W1.3 B0.2 W0.2 B0.3 W0.3");
  CHECK(list(ScheduleKind::dualpipe_v, 2, 4, 2, 0) ==
        "F0.0 F0.1 F0.2 F1.0 B1.0 W1.0 F1.1 F0.3 BW1.1 F1.2 BW0.0 BW1.2 F1.3 BW0.1 BW1.3 B0.2 W0.2 "
        "B0.3 W0.3");
  CHECK(list(ScheduleKind::zb1p, 3, 6, 1, 1) == list(ScheduleKind::zb_h1, 3, 6, 1, 1));
}

TEST_CASE("stages lie in a loop or in a V", "[placement]") {
  const Placement loop{.shape = Placement::Shape::loop, .ranks = 4, .chunks = 2};
  const Placement v{.shape = Placement::Shape::v, .ranks = 4, .chunks = 2};
  for (int rank = 0; rank < 4; ++rank) {
    CHECK(loop.stage_of(rank, 0) == rank);
    CHECK(loop.stage_of(rank, 1) == 4 + rank);
    CHECK(v.stage_of(rank, 0) == rank);
    CHECK(v.stage_of(rank, 1) == 7 - rank);
  }
  for (const Placement& placement : {loop, v})
    for (int stage = 0; stage < 8; ++stage)
      CHECK(placement.stage_of(placement.rank_of(stage), placement.chunk_of(stage)) == stage);
}

TEST_CASE("a shape that does not fit is told with one that does", "[errors]") {
  const auto message = [](ScheduleKind kind, int p, int m, int v) {
    return testing::message_of([&] { make_schedule(kind, {p, m, v}); });
  };
  testing::expect_words(message(ScheduleKind::interleaved, 4, 6, 2),
                        {"interleaved", "4 ranks", "not 6", "4 or 8"});
  testing::expect_words(message(ScheduleKind::interleaved, 4, 3, 2), {"not 3", "4 would fit"});
  testing::expect_words(message(ScheduleKind::interleaved, 4, 8, 1), {"at least 2", "1f1b"});
  testing::expect_words(message(ScheduleKind::zb1p, 4, 6, 2), {"zb1p", "4 or 8"});
  testing::expect_words(message(ScheduleKind::zb_v, 4, 6, 3), {"zb-v", "2 chunks", "not 3"});
  testing::expect_words(message(ScheduleKind::dualpipe_v, 4, 7, 2), {"at least 8", "not 7"});
  testing::expect_words(message(ScheduleKind::dualpipe_v, 4, 8, 1), {"2 chunks", "not 1"});
  for (const ScheduleKind kind :
       {ScheduleKind::gpipe, ScheduleKind::one_f_one_b, ScheduleKind::zb_h1})
    testing::expect_words(message(kind, 4, 8, 2), {"1 chunk", "not 2"});
  testing::expect_words(testing::message_of([] { schedule_from_name("zbh1"); }),
                        {"\"zbh1\"", "zb-h1?", "dualpipe-v"});
  for (const std::string_view name : schedule_names())
    CHECK(name_of(schedule_from_name(name)) == name);
}

TEST_CASE("a wrong list is caught", "[mistakes]") {
  Schedule s = small(ScheduleKind::zb_h1);
  const Action w1{ActionKind::backward_weights, 1, 1}, w2{ActionKind::backward_weights, 1, 2};
  std::swap(find(s, w1), find(s, w2));
  testing::expect_words(all_mistakes(s), {"weight gradients of stage 1 do not ascend",
                                          "micro-batch 1 comes after 2"});

  s = small(ScheduleKind::zb_h1);
  std::swap(find(s, {ActionKind::backward_weights, 0, 3}),
            find(s, {ActionKind::backward_inputs, 0, 3}));
  testing::expect_words(all_mistakes(s), {"W of stage 0, micro-batch 3 comes before its B"});

  s = small(ScheduleKind::one_f_one_b);
  std::swap(s.actions[1][0], s.actions[1][1]);
  testing::expect_words(all_mistakes(s), {"B of stage 1, micro-batch 0 comes before its F"});

  s = small(ScheduleKind::one_f_one_b);
  s.actions[1].pop_back();
  testing::expect_words(all_mistakes(s), {"B of stage 1, micro-batch 3 is missing"});
  s.actions[1].push_back(s.actions[1].front());
  testing::expect_words(all_mistakes(s), {"F of stage 1, micro-batch 0 is there 2 times"});

  s = small(ScheduleKind::one_f_one_b);
  std::swap(s.actions[0], s.actions[1]);
  testing::expect_words(all_mistakes(s), {"rank 0: F of stage 1", "that stage is on rank 1"});
  s.actions.pop_back();
  testing::expect_words(all_mistakes(s), {"1 lists for 2 ranks"});

  s = small(ScheduleKind::gpipe);
  s.actions[1][0] = {ActionKind::forward, 2, 0};
  testing::expect_words(all_mistakes(s), {"rank 1: F of stage 2", "2 stages"});

  // A whole backward and a W of its own are one too many.
  s = small(ScheduleKind::gpipe);
  s.actions[0].push_back({ActionKind::backward_weights, 0, 0});
  testing::expect_words(all_mistakes(s), {"W of stage 0, micro-batch 0 is there 2 times"});

  // Stages that take micro-batches in different orders: links without tags would mix them up.
  s = small(ScheduleKind::gpipe);
  std::swap(s.actions[1][0], s.actions[1][1]);
  testing::expect_words(all_mistakes(s),
                        {"stages 0 and 1 take their forwards in different orders"});

  // The turn of a V has no message that would wait.
  s = small(ScheduleKind::zb_v);
  std::swap(find(s, {ActionKind::forward, 1, 0}), find(s, {ActionKind::forward, 2, 0}));
  testing::expect_words(all_mistakes(s),
                        {"F of stage 1, micro-batch 0 comes after that of stage 2"});
  s = small(ScheduleKind::zb_v);
  std::swap(find(s, {ActionKind::backward_inputs, 1, 0}),
            find(s, {ActionKind::backward_inputs, 2, 0}));
  CHECK(all_mistakes(s).find("B of stage 1, micro-batch 0 comes before that of stage 2") !=
        std::string::npos);

  // Not more sentences than wanted.
  s = small(ScheduleKind::gpipe);
  for (auto& list : s.actions) list.clear();
  CHECK(mistakes_of(s).size() == 8);
  CHECK(mistakes_of(s, 3).size() == 3);
}

TEST_CASE("any two neighbours of a list that are swapped are caught or change no dependency",
          "[mistakes]") {
  // Every seed of this kind, of every schedule on 3 ranks.
  for (const std::string_view each : schedule_names()) {
    const ScheduleKind kind = schedule_from_name(each);
    const Schedule right =
        make_schedule(kind, {.ranks = 3, .micro_batches = 6, .chunks = default_chunks(kind)});
    const Durations durations = even_durations(right.placement, 1, 1, 1);
    for (std::size_t rank = 0; rank < 3; ++rank)
      for (std::size_t i = 1; i < right.actions[rank].size(); ++i) {
        Schedule s = right;
        Action &a = s.actions[rank][i - 1], &b = s.actions[rank][i];
        // What must not be turned round: two micro-batches of one kind of call of a stage, or two
        // calls of a micro-batch.
        const bool same_kind = (is_forward(a) && is_forward(b)) ||
                               (makes_input_gradients(a) && makes_input_gradients(b)) ||
                               (makes_weight_gradients(a) && makes_weight_gradients(b));
        const bool ordered =
            (a.stage == b.stage && (same_kind || a.micro_batch == b.micro_batch)) ||
            (a.micro_batch == b.micro_batch && a.kind != ActionKind::backward_weights &&
             b.kind != ActionKind::backward_weights && std::abs(a.stage - b.stage) == 1);
        std::swap(a, b);
        INFO(each << " rank " << rank << " action " << i << ": " << all_mistakes(s));
        REQUIRE(mistakes_of(s).empty() != ordered);
        // What is no mistake of a list may still be a deadlock, and then it is told.
        if (!ordered) {
          const Simulation simulation = simulate(s, durations);
          REQUIRE(simulation.deadlock.empty() == simulation.describe_deadlock().empty());
        }
      }
  }
}
