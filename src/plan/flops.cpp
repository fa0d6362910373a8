#include "plan/flops.hpp"

#include "model/tensor_table.hpp"

namespace espalier::plan {

FlopsPerToken flops_per_token(const model::Architecture& a, double sequence_length) {
  // The LM head is a matrix product whether or not it shares its weight with the embedding; the
  // embedding itself is a look-up.
  double matrix_parameters = static_cast<double>(a.vocab_size) * static_cast<double>(a.hidden_size);
  for (const parallel::TensorSpec& spec : model::tensor_table(a))
    if (spec.layer >= 0 && !spec.is_vector)
      matrix_parameters += static_cast<double>(spec.num_elements());

  // Scores and values: 2 products x 2 FLOPs x S x A*D forward, twice that backward: 12 A D S per
  // layer over the full attention, of which a causal mask needs one half.
  const double square = 12.0 * static_cast<double>(a.num_layers) *
                        static_cast<double>(a.num_heads * a.head_dim) * sequence_length;
  return {.causal_attention = 6.0 * matrix_parameters + 0.5 * square,
          .full_attention = 6.0 * matrix_parameters + square};
}

}  // namespace espalier::plan
