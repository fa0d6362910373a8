#include "model/inputs.hpp"

#include "kernels/embedding/batch_inputs.hpp"

namespace espalier::model {

using device::ConstView;
using device::Phase;
using device::View;

void gather_inputs(device::Context& context, Activations& a, Slot& slot, const Batch& batch) {
  const auto phase = context.profiler().scope(Phase::embedding);
  ConstView samples = batch.samples, places = batch.document_positions;
  if (!context.on_host()) {
    context.upload(a.samples, samples.data);
    samples = a.samples;
    if (places.exists()) {
      context.upload(a.document_positions, places.data);
      places = a.document_positions;
    }
  }
  const View document_start = batch.document_mask ? slot.document_start : View{};
  kernels::batch_inputs(context, {.samples = samples,
                                  .document_positions = places,
                                  .num_counted = batch.num_counted,
                                  .predict_across = batch.predict_across,
                                  .tokens = slot.tokens,
                                  .targets = slot.targets,
                                  .position_ids = slot.position_ids,
                                  .document_start = document_start});
  slot.inputs = {slot.tokens, slot.targets, slot.position_ids, document_start};
}

}  // namespace espalier::model
