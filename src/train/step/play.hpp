#pragma once
#include <functional>

#include "device/context.hpp"
#include "model/message_buffers.hpp"
#include "parallel/pipeline_link.hpp"
#include "parallel/schedule/lowering.hpp"

namespace espalier::train {

/// What a rank of a pipeline does, in order, and where its messages lie. All of it outlives it.
struct RankPart {
  const pipeline::RankProgram& program;
  const pipeline::Placement& placement;
  const model::MessageBuffers& messages;
  parallel::PipelineLink* link;  ///< null: no message is sent (no pipeline)

  /// What a pass takes in from the stage before it in its direction, and where its result belongs,
  /// (T_loc, H) each; absent at the ends of the model.
  device::View input_of(const pipeline::Step& step) const {
    return messages.input_of(step, placement);
  }
  device::View output_of(const pipeline::Step& step) const {
    return messages.output_of(step, placement);
  }
};

/// Does a pass of a stage.
using Compute = std::function<void(const pipeline::Step& step)>;

/// Takes the steps of a program. The time in which this rank waits for others is that of
/// Phase::pipeline_communication.
void play(device::Context& context, const RankPart& part, const Compute& compute);

}  // namespace espalier::train
