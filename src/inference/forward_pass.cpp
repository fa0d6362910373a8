#include "inference/forward_pass.hpp"

#include "kernels/attention/attention_provider.hpp"

namespace espalier::inference {
namespace {

model::ActivationShape shape_of(const TrainedModel& trained, std::int64_t micro_batch_size,
                                std::int64_t sequence_length) {
  const int tensor = trained.rank_context.grid.shape().tensor;
  return {.micro_batch_size = micro_batch_size,
          .sequence_length = sequence_length,
          .loss_chunk_tokens = trained.parameters.training.loss_chunk_tokens,
          .tensor_size = tensor,
          .splits_tokens = trained.parameters.parallel.sequence_parallel && tensor > 1 &&
                           micro_batch_size * sequence_length % tensor == 0,
          .training = false,
          .on_gpu = !trained.rank_context.context.on_host(),
          .attention = kernels::attention_provider_from_name(trained.parameters.device.attention),
          .compute_capability = trained.rank_context.gpu != nullptr
                                    ? trained.rank_context.gpu->description().compute_capability
                                    : 0,
          .experts = {.has_bias = !trained.expert_bias.empty(),
                      .rounds_logits = trained.parameters.experts.router_dtype == "model",
                      .capacity_factor = trained.parameters.experts.capacity_factor}};
}

device::Arena arena_for(const TrainedModel& trained, const model::ActivationShape& shape) {
  device::Arena plan = device::Arena::planning("activations");
  const model::Activations planned(trained.weights->sizes(), shape, trained.dtype, plan);
  planned.require_attention(trained.dtype);
  return device::Arena::backed("activations", plan.used_bytes(), trained.rank_context.gpu);
}

}  // namespace

ForwardPass::ForwardPass(TrainedModel& trained, std::int64_t micro_batch_size,
                         std::int64_t sequence_length)
    : shape_(shape_of(trained, micro_batch_size, sequence_length)),
      arena_(arena_for(trained, shape_)),
      activations_(trained.weights->sizes(), shape_, trained.dtype, arena_),
      stage_(trained.architecture, *trained.weights, activations_, trained.rank_context.context,
             trained.communicators) {
  if (activations_.expert_bias.exists()) {
    require(std::ssize(trained.expert_bias) == activations_.expert_bias.size(),
            ExitStatus::bad_data, "the checkpoint has a bias of {} experts, its model has {}",
            trained.expert_bias.size(), activations_.expert_bias.size());
    trained.rank_context.context.upload(activations_.expert_bias, trained.expert_bias.data());
  }
}

}  // namespace espalier::inference
