#pragma once
// A rank's part of a pipeline's program, played through with payloads in place of activations.
#include <catch2/catch.hpp>

#include <functional>
#include <map>
#include <string>
#include <tuple>

#include "device/arena.hpp"
#include "parallel/pipeline_link.hpp"
#include "rank_data.hpp"

namespace espalier::testing {

/// Sends and receives what a program says over a link, and looks at every message when it is taken
/// in. What a message holds is known from its name and from the place of the ranks in their stages.
class PlayedProgram {
 public:
  PlayedProgram(device::Context& context, parallel::PipelineLink& link,
                const pipeline::Program& program, int rank, int place, std::int64_t floats)
      : context_(context),
        link_(link),
        placement_(program.placement),
        steps_(program.ranks[static_cast<std::size_t>(rank)]),
        place_(place),
        floats_(floats),
        arena_(device::Arena::backed("buffers", bytes_of(steps_.buffers, floats),
                                     context.shared_gpu())) {}

  /// What else a pass does.
  void set_compute(std::function<void(const pipeline::Action&)> compute) {
    compute_ = std::move(compute);
  }
  void play() {
    for (const pipeline::Step& step : steps_.steps) take(step);
  }
  int num_checked() const { return num_checked_; }
  int num_expected() const {
    int receives = 0;
    for (const pipeline::Step& step : steps_.steps)
      receives += step.kind == pipeline::StepKind::wait_receive ? 1 : 0;
    return receives;
  }

 private:
  static std::int64_t bytes_of(const pipeline::Buffers& buffers, std::int64_t floats) {
    return (buffers.received + buffers.sent + 1) * (floats * 4 + 4096);
  }

  std::vector<float> payload(const pipeline::Action& message) const {
    const int name = (message.stage * 2 + (pipeline::is_forward(message) ? 0 : 1)) * 64 + place_;
    std::vector<float> values(static_cast<std::size_t>(floats_));
    for (std::int64_t i = 0; i < floats_; ++i)
      values[static_cast<std::size_t>(i)] = element<float>(name, i + 1000003 * message.micro_batch);
    return values;
  }

  /// Of an end (sent: true), direction and chunk.
  device::View buffer(bool sent, bool forward, int stage, int index) {
    device::View& view = buffers_[{sent, forward, placement_.chunk_of(stage), index}];
    if (!view.exists()) view = arena_.allocate("buffer", DType::f32, 1, floats_);
    return view;
  }
  /// What an action makes, and of which stage it is that sends a message.
  static pipeline::Action made_by(const pipeline::Action& a) {
    return pipeline::is_forward(a)
               ? pipeline::Action{pipeline::ActionKind::forward, a.stage + 1, a.micro_batch}
               : pipeline::Action{pipeline::ActionKind::backward_inputs, a.stage - 1,
                                  a.micro_batch};
  }
  static int sending_stage(const pipeline::Action& message) {
    return message.stage + (pipeline::is_forward(message) ? -1 : 1);
  }

  void take(const pipeline::Step& step) {
    const pipeline::Action& a = step.action;
    const bool forward = pipeline::is_forward(a);
    switch (step.kind) {
      case pipeline::StepKind::post_receive:
        return link_.post_receive(a, step.peer, buffer(false, forward, a.stage, step.buffer));
      case pipeline::StepKind::wait_receive:
        return link_.wait_receive(a);
      case pipeline::StepKind::post_send:
        return link_.post_send(a, step.peer, buffer(true, forward, sending_stage(a), step.buffer));
      case pipeline::StepKind::wait_send:
        return link_.wait_send(a);
      case pipeline::StepKind::compute:
        break;
    }
    if (step.input >= 0 && !step.input_is_local) {
      const pipeline::Action message{
          forward ? pipeline::ActionKind::forward : pipeline::ActionKind::backward_inputs, a.stage,
          a.micro_batch};
      CAPTURE(pipeline::describe(message));
      const device::View view = buffer(false, forward, a.stage, step.input);
      REQUIRE(same_bits(context_.download<float>(view), payload(message)));
      ++num_checked_;
    }
    if (compute_) compute_(a);
    if (step.output >= 0 && !step.output_is_local)
      context_.upload(buffer(true, forward, a.stage, step.output), payload(made_by(a)).data());
    link_.progress();
  }

  device::Context& context_;
  parallel::PipelineLink& link_;
  pipeline::Placement placement_;
  const pipeline::RankProgram& steps_;
  int place_;
  std::int64_t floats_;
  device::Arena arena_;
  std::map<std::tuple<bool, bool, int, int>, device::View> buffers_;
  std::function<void(const pipeline::Action&)> compute_;
  int num_checked_ = 0;
};

/// Every schedule that p ranks and m micro-batches can have, with its fewest chunks, and
/// interleaved with three.
inline std::vector<pipeline::Schedule> schedules_of(int p, int m) {
  std::vector<pipeline::Schedule> schedules;
  for (const std::string_view name : pipeline::schedule_names()) {
    const pipeline::ScheduleKind kind = pipeline::schedule_from_name(name);
    for (const int chunks : {pipeline::default_chunks(kind), 3}) {
      const pipeline::PipelineShape shape{.ranks = p, .micro_batches = m, .chunks = chunks};
      if (pipeline::misfit_of(kind, shape).none())
        schedules.push_back(pipeline::make_schedule(kind, shape));
    }
  }
  return schedules;
}

}  // namespace espalier::testing
