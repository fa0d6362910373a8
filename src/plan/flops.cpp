#include "plan/flops.hpp"

#include "model/tensor_table.hpp"

namespace espalier::plan {

FlopsByPart flops_by_part(const model::Architecture& a, double sequence_length) {
  FlopsByPart parts;
  // The LM head is a matrix product whether or not it shares its weight with the embedding; the
  // embedding itself is a look-up.
  parts.lm_head = 6.0 * static_cast<double>(a.vocab_size) * static_cast<double>(a.hidden_size);
  for (const parallel::TensorSpec& spec : model::tensor_table(a)) {
    if (spec.layer < 0 || spec.is_vector) continue;
    using Role = parallel::WeightRole;
    const bool of_experts = spec.shard == parallel::ShardRule::experts;
    const bool of_mlp = of_experts || spec.role == Role::router || spec.role == Role::gate ||
                        spec.role == Role::up || spec.role == Role::down;
    const double share = of_experts ? static_cast<double>(a.num_experts_per_token) /
                                          static_cast<double>(a.num_experts)
                                    : 1.0;
    (of_mlp ? parts.mlp : parts.projections) +=
        6.0 * share * static_cast<double>(spec.num_elements());
  }
  // Scores and values: 2 products x 2 FLOPs x S x A*D forward, twice that backward: 12 A D S per
  // layer over the full attention, of which a causal mask needs one half.
  parts.full_attention = 12.0 * static_cast<double>(a.num_layers) *
                         static_cast<double>(a.num_heads * a.head_dim) * sequence_length;
  parts.causal_attention = 0.5 * parts.full_attention;
  return parts;
}

FlopsPerToken flops_per_token(const model::Architecture& a, double sequence_length) {
  const FlopsByPart parts = flops_by_part(a, sequence_length);
  const double products = parts.projections + parts.mlp + parts.lm_head;
  return {.causal_attention = products + parts.causal_attention,
          .full_attention = products + parts.full_attention};
}

}  // namespace espalier::plan
