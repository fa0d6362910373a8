#include "train/step/play.hpp"

#include "base/error.hpp"

namespace espalier::train {

using pipeline::Step;
using pipeline::StepKind;

void play(device::Context& context, const RankPart& part, const Compute& compute) {
  for (const Step& step : part.program.steps) {
    if (step.kind == StepKind::compute) {
      compute(step);
      continue;
    }
    ESPALIER_ASSERT(part.link != nullptr, "a message without a link: {}",
                    pipeline::describe(step.action));
    const auto phase = context.profiler().scope(device::Phase::pipeline_communication);
    switch (step.kind) {
      case StepKind::post_receive:
        part.link->post_receive(step.action, step.peer,
                                part.messages.of_message(step, part.placement));
        break;
      case StepKind::wait_receive:
        part.link->wait_receive(step.action);
        break;
      case StepKind::post_send:
        part.link->post_send(step.action, step.peer,
                             part.messages.of_message(step, part.placement));
        break;
      case StepKind::wait_send:
        part.link->wait_send(step.action);
        break;
      case StepKind::compute:
        break;
    }
  }
}

}  // namespace espalier::train
