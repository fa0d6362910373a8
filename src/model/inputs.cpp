#include "model/inputs.hpp"

#include "kernels/embedding/batch_inputs.hpp"

namespace espalier::model {

using device::ConstView;
using device::Phase;
using device::View;

Inputs gather_inputs(device::Context& context, Activations& a, const Batch& batch) {
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
  const View document_start = batch.document_mask ? a.document_start : View{};
  kernels::batch_inputs(context, {.samples = samples,
                                  .document_positions = places,
                                  .num_counted = batch.num_counted,
                                  .predict_across = batch.predict_across,
                                  .tokens = a.tokens,
                                  .targets = a.targets,
                                  .position_ids = a.position_ids,
                                  .document_start = document_start});
  return {a.tokens, a.targets, a.position_ids, document_start};
}

}  // namespace espalier::model
