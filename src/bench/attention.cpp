#include "bench/attention.hpp"

#include <optional>

#include "kernels/attention/attention_provider.hpp"
#include "model/attention_operands.hpp"

namespace espalier::bench {

using device::View;
using kernels::AttentionProvider;

kernels::AttentionRequest attention_request(BenchJob& job, bool backward) {
  const model::Activations& a = *job.model.memory.activations;
  return {.shape = a.attention,
          .dtype = a.chunks.front().slots.front().blocks.front().qkv.dtype,
          .compute_capability = a.shape.compute_capability,
          .backward = backward};
}

void time_attention(OperatorTimer& timer, BenchJob& job, AttentionProvider provider,
                    const std::string& name) {
  const plan::TrainingMemory& memory = job.model.memory;
  const model::Activations& a = *memory.activations;
  // Of whole sequences: without document starts.
  model::Inputs inputs{};
  inputs.context = a.chunks.front().slots.front().inputs.context;
  const model::AttentionOperands operands{memory.architecture, memory.weights->sizes(), a,
                                          a.chunks.front().slots.front().blocks.front(), inputs};
  const bool on_gpu = !job.rank_context.context.on_host();
  if (on_gpu && !kernels::supports(provider, attention_request(job, /*backward=*/false))) return;
  kernels::AttentionRequest request = attention_request(job, /*backward=*/true);
  request.scratch_elements = kernels::backward_scratch_elements(provider, request);
  const bool deterministic = !on_gpu || kernels::supports(provider, request);
  View scratch = a.attention_scratch;
  std::optional<device::Arena> scratch_arena;
  if (on_gpu && scratch.size() < request.scratch_elements) {
    scratch_arena = device::Arena::backed("scratch", 4 * request.scratch_elements + 64,
                                          job.rank_context.context.shared_gpu());
    scratch = scratch_arena->allocate("scratch", DType::f32, 1, request.scratch_elements);
  }
  kernels::AttentionForward forward = operands.attention();
  forward.provider = provider;
  timer.measure(name, [&] { kernels::attention_forward(job.rank_context.context, forward); });
  kernels::AttentionBackward backward = operands.attention_backward();
  backward.provider = provider;
  backward.scratch = scratch;
  backward.deterministic = deterministic;
  timer.measure(name + (deterministic ? " backward" : " backward, any order"),
                [&] { kernels::attention_backward(job.rank_context.context, backward); });
}

}  // namespace espalier::bench
