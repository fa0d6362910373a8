// Messages, buffers and slots: no deadlock without any room between ranks, nothing overwritten.
#include <catch2/catch.hpp>
#include <map>
#include <set>
#include <tuple>

#include "../../support/expect_error.hpp"
#include "every_shape.hpp"
#include "parallel/schedule/simulation.hpp"

using namespace espalier;
using namespace espalier::pipeline;

namespace {

using Key = std::tuple<bool, int, int>;
Key key_of(const Action& a) {
  return {is_forward(a), a.stage, a.micro_batch};
}

/// Walks through a rank's steps as a run would and looks at what each buffer and slot holds.
void check_storage(const Program& program, int rank) {
  const RankProgram& r = program.ranks[static_cast<std::size_t>(rank)];
  const Placement& placement = program.placement;
  // (sent, forward, chunk at this end, buffer) -> free or what is in it
  std::map<std::tuple<bool, bool, int, int>, Key> buffers;
  std::map<int, Key> slots, weight_slots, local;
  std::set<std::tuple<bool, bool, int, int>> seen;
  bool fine = true;
  const auto chunk_here = [&](const Step& s) {
    // Of a sent message the chunk is that of the stage which made it.
    const bool is_sent = s.kind == StepKind::post_send || s.kind == StepKind::wait_send;
    const int stage = !is_sent ? s.action.stage : s.action.stage + (is_forward(s.action) ? -1 : 1);
    return placement.chunk_of(stage);
  };
  const auto take = [&](auto& map, const auto& at, const Key& what) {
    fine = fine && map.emplace(at, what).second;
  };
  const auto free = [&](auto& map, const auto& at, const Key& what) {
    const auto found = map.find(at);
    fine = fine && found != map.end() && found->second == what;
    if (found != map.end()) map.erase(found);
  };
  for (const Step& s : r.steps) {
    const Key key = key_of(s.action);
    if (s.kind != StepKind::compute) {
      const bool is_sent = s.kind == StepKind::post_send || s.kind == StepKind::wait_send;
      const std::tuple at{is_sent, is_forward(s.action), chunk_here(s), s.buffer};
      seen.insert(at);
      fine = fine && s.peer != rank && s.buffer >= 0;
      if (s.kind == StepKind::post_receive) take(buffers, at, key);
      if (s.kind == StepKind::wait_receive) fine = fine && buffers.at(at) == key;
      if (s.kind == StepKind::post_send) fine = fine && buffers.at(at) == key;
      if (s.kind == StepKind::wait_send) free(buffers, at, key);
      continue;
    }
    const Action& a = s.action;
    const int chunk = placement.chunk_of(a.stage);
    const Key output{is_forward(a), a.stage + (is_forward(a) ? 1 : -1), a.micro_batch};
    if (s.output >= 0 && s.output_is_local) take(local, s.output, output);
    if (s.output >= 0 && !s.output_is_local)
      take(buffers, std::tuple{true, is_forward(a), chunk, s.output}, output);
    if (s.input >= 0 && s.input_is_local) free(local, s.input, key);
    if (s.input >= 0 && !s.input_is_local)
      free(buffers, std::tuple{false, is_forward(a), chunk, s.input}, key);
    const Key kept{true, a.stage, a.micro_batch};
    if (is_forward(a)) take(slots, s.slot, kept);
    if (a.kind == ActionKind::backward_inputs) take(weight_slots, s.weight_slot, kept);
    if (makes_weight_gradients(a)) free(slots, s.slot, kept);
    if (a.kind == ActionKind::backward_weights) free(weight_slots, s.weight_slot, kept);
    // The model's ends alone have no neighbour.
    const int last = placement.num_stages() - 1;
    if (a.kind != ActionKind::backward_weights) {
      fine = fine && (s.input < 0) == (a.stage == (is_forward(a) ? 0 : last));
      fine = fine && (s.output < 0) == (a.stage == (is_forward(a) ? last : 0));
    }
    fine = fine && s.slot < r.buffers.slots && s.weight_slot < r.buffers.weight_slots;
  }
  INFO("rank " << rank);
  REQUIRE(fine);
  REQUIRE(buffers.empty());
  REQUIRE(slots.empty());
  REQUIRE(weight_slots.empty());
  REQUIRE(local.empty());
  REQUIRE(static_cast<int>(seen.size()) == r.buffers.received + r.buffers.sent);
}

/// Both ends of every link post the same messages in the same order.
void check_links(const Program& program) {
  // (from, to, forward, taking stage) -> names, at either end
  std::map<std::tuple<int, int, bool, int>, std::vector<Key>> sent, received;
  int messages = 0;
  for (int rank = 0; rank < program.placement.ranks; ++rank) {
    const RankProgram& r = program.ranks[static_cast<std::size_t>(rank)];
    messages += r.num_messages;
    for (const Step& s : r.steps) {
      const bool forward = is_forward(s.action);
      if (s.kind == StepKind::post_send)
        sent[{rank, s.peer, forward, s.action.stage}].push_back(key_of(s.action));
      if (s.kind == StepKind::post_receive)
        received[{s.peer, rank, forward, s.action.stage}].push_back(key_of(s.action));
    }
  }
  REQUIRE(sent == received);
  const Placement& placement = program.placement;
  int borders = 0;
  for (int stage = 0; stage + 1 < placement.num_stages(); ++stage)
    borders += placement.rank_of(stage) != placement.rank_of(stage + 1) ? 1 : 0;
  REQUIRE(messages == 2 * borders * program.micro_batches);
}

}  // namespace

TEST_CASE("messages meet, and nothing is overwritten", "[storage]") {
  for_every_shape([](ScheduleKind kind, const PipelineShape& s) {
    INFO(name_of(kind) << " p " << s.ranks << " m " << s.micro_batches << " v " << s.chunks);
    const Schedule schedule = make_schedule(kind, s);
    const Program program = lower(schedule);
    for (int rank = 0; rank < s.ranks; ++rank) check_storage(program, rank);
    check_links(program);
    // Slots are as many as are live at once, whatever the times.
    const Simulation simulation = simulate(program, even_durations(program.placement, 3, 5, 2, 1));
    for (std::size_t rank = 0; rank < program.ranks.size(); ++rank) {
      REQUIRE(program.ranks[rank].buffers.slots == simulation.ranks[rank].most.activations);
      REQUIRE(program.ranks[rank].buffers.weight_slots ==
              simulation.ranks[rank].most.weight_inputs);
    }
  });
}

TEST_CASE("the turn of a V is local", "[storage]") {
  for (const ScheduleKind kind : {ScheduleKind::zb_v, ScheduleKind::dualpipe_v}) {
    const Program program = lower(make_schedule(kind, {4, 8, 2}));
    for (int rank = 0; rank < 4; ++rank) {
      const RankProgram& r = program.ranks[static_cast<std::size_t>(rank)];
      CHECK((r.buffers.local > 0) == (rank == 3));
      for (const Step& s : r.steps)
        CHECK(std::abs(s.peer - rank) == (s.kind == StepKind::compute ? rank + 1 : 1));
    }
  }
}

TEST_CASE("no schedule comes to a standstill, and more buffers make none shorter", "[deadlock]") {
  for_every_shape([](ScheduleKind kind, const PipelineShape& s) {
    INFO(name_of(kind) << " p " << s.ranks << " m " << s.micro_batches << " v " << s.chunks);
    const Schedule schedule = make_schedule(kind, s);
    const Program program = lower(schedule), many = lower(schedule, {.buffers = kMostMicroBatches});
    for (const auto& [f, b, w, message] :
         {std::tuple{4, 4, 4, 0}, {4, 8, 4, 0}, {12, 4, 4, 0}, {4, 4, 12, 0}, {4, 4, 4, 1}}) {
      const Durations durations = even_durations(schedule.placement, f, b, w, message);
      const Simulation simulation = simulate(program, durations);
      INFO(simulation.describe_deadlock());
      REQUIRE(simulation.deadlock.empty());
      CHECK(simulation.makespan == simulate(many, durations).makespan);
    }
    // One buffer a link may cost time and is still enough, but for the last rank of zb1p, which
    // is ahead of the first.
    if (kind != ScheduleKind::zb1p)
      REQUIRE(simulate(lower(schedule, {.buffers = 1}), even_durations(schedule.placement, 1, 1, 1))
                  .deadlock.empty());
  });
}

namespace {

/// Whether a message that a rank has posted gets there although the rank does nothing more.
bool comes_by_itself(const Program& program, std::size_t rank, std::size_t num_steps) {
  Program stopped = program;
  std::vector<Step>& steps = stopped.ranks[rank].steps;
  steps.resize(num_steps);
  Step wait = steps.back();
  wait.kind = wait.kind == StepKind::post_receive ? StepKind::wait_receive : StepKind::wait_send;
  steps.push_back(wait);
  const Simulation simulation = simulate(stopped, even_durations(program.placement, 1, 1, 1));
  return std::none_of(simulation.deadlock.begin(), simulation.deadlock.end(),
                      [&](const Waiting& w) { return w.rank == static_cast<int>(rank); });
}

/// Of all messages of this kind of step, how many do not.
int num_dependent(const Program& program, StepKind kind) {
  int count = 0;
  for (std::size_t rank = 0; rank < program.ranks.size(); ++rank)
    for (std::size_t i = 0; i < program.ranks[rank].steps.size(); ++i)
      if (program.ranks[rank].steps[i].kind == kind)
        count += comes_by_itself(program, rank, i + 1) ? 0 : 1;
  return count;
}

}  // namespace

// On a GPU a message that is posted is a kernel that waits. Whatever waits for all of the GPU's
// kernels, such as the loading of code, would do so for ever if the message needed this rank again.
TEST_CASE("no message is posted that needs anything more of the rank that posts it", "[deadlock]") {
  const auto without_receives = [](std::vector<Step> steps) {
    std::erase_if(steps, [](const Step& s) { return s.kind == StepKind::post_receive; });
    return steps;
  };
  for (const std::string_view name : schedule_names()) {
    const ScheduleKind kind = schedule_from_name(name);
    for (const int p : {2, 3, 4})
      for (const int rounds : {1, 2, 4})
        for (const int v : {1, 2, 3}) {
          const PipelineShape shape{.ranks = p, .micro_batches = rounds * p, .chunks = v};
          if (!misfit_of(kind, shape).none()) continue;
          INFO(name << " p " << p << " m " << rounds * p << " v " << v);
          const Schedule schedule = make_schedule(kind, shape);
          const Program program = lower(schedule), early = lower(schedule, {.early = true});
          CHECK(num_dependent(program, StepKind::post_receive) == 0);
          CHECK(num_dependent(program, StepKind::post_send) == 0);
          CHECK(num_dependent(early, StepKind::post_receive) > 0);
          // It costs no time, and but for these posts it is the same program.
          const Durations durations = even_durations(schedule.placement, 4, 5, 3, 1);
          CHECK(simulate(program, durations).makespan == simulate(early, durations).makespan);
          for (std::size_t rank = 0; rank < program.ranks.size(); ++rank)
            CHECK(without_receives(program.ranks[rank].steps) ==
                  without_receives(early.ranks[rank].steps));
        }
  }
}

TEST_CASE("with blocking messages all but gpipe stand", "[deadlock]") {
  for (const std::string_view name : schedule_names()) {
    const ScheduleKind kind = schedule_from_name(name);
    for (const int p : {2, 4, 8}) {
      const Schedule schedule =
          make_schedule(kind, {.ranks = p, .micro_batches = 2 * p, .chunks = default_chunks(kind)});
      const Simulation simulation = simulate(lower(schedule, {.blocking = true}),
                                             even_durations(schedule.placement, 1, 1, 1));
      INFO(name << " p " << p << ": " << simulation.describe_deadlock());
      CHECK(simulation.deadlock.empty() == (kind == ScheduleKind::gpipe));
    }
  }
}

TEST_CASE("ranks that wait for each other are named with what they wait for", "[deadlock]") {
  // Rank 1 wants to see micro-batch 1 before it gives the gradient of 0 back, and rank 0 the
  // reverse. Neither list is wrong alone.
  Schedule s = make_schedule(ScheduleKind::one_f_one_b, {.ranks = 2, .micro_batches = 2});
  s.actions[0] = {{ActionKind::forward, 0, 0},
                  {ActionKind::backward, 0, 0},
                  {ActionKind::forward, 0, 1},
                  {ActionKind::backward, 0, 1}};
  s.actions[1] = {{ActionKind::forward, 1, 0},
                  {ActionKind::forward, 1, 1},
                  {ActionKind::backward, 1, 0},
                  {ActionKind::backward, 1, 1}};
  CHECK(mistakes_of(s).empty());
  const Simulation simulation = simulate(s, even_durations(s.placement, 1, 1, 1));
  REQUIRE(simulation.deadlock.size() == 2);
  CHECK(simulation.deadlock[0].rank == simulation.deadlock[1].for_rank);
  CHECK(simulation.deadlock[1].rank == simulation.deadlock[0].for_rank);
  CHECK(simulation.makespan == 2);
  testing::expect_words(
      simulation.describe_deadlock(),
      {"rank 0 waits for rank 1 to send the input of B of stage 0, micro-batch 0; rank 1 does that "
       "after BW of stage 1, micro-batch 0",
       "rank 1 waits for rank 0 to send the input of F of stage 1, micro-batch 1; rank 0 does that "
       "after F of stage 0, micro-batch 1"});

  // A message that nobody sends.
  s = make_schedule(ScheduleKind::one_f_one_b, {.ranks = 2, .micro_batches = 2});
  s.actions[0].erase(s.actions[0].begin() + 1, s.actions[0].end());
  testing::expect_words(simulate(s, even_durations(s.placement, 1, 1, 1)).describe_deadlock(),
                        {"rank 1 waits for rank 0", "micro-batch 1; rank 0 never does that"});
  // One that nobody takes in, and whose buffer is never free.
  s = make_schedule(ScheduleKind::gpipe, {.ranks = 2, .micro_batches = 2});
  s.actions[1].erase(s.actions[1].begin() + 1);
  s.actions[1].pop_back();
  s.actions[0].pop_back();
  testing::expect_words(simulate(s, even_durations(s.placement, 1, 1, 1)).describe_deadlock(),
                        {"rank 0 waits for rank 1 to receive the input of F of stage 1, "
                         "micro-batch 1; rank 1 never does that"});
}
