#pragma once
#include <cstdint>

#include "config/parameters.hpp"

namespace espalier::model {

/// What a loss that keeps the load of the experts even is taken over. With n_e the number of
/// choices of expert e and p_te the probability that token t gives it, over T tokens of a scope it
/// is E / (k T^2) sum_e n_e sum_t p_te: 1 at an even load (Fedus et al. 2021, eq. 4; DeepSeek-V2).
/// All are means over the scopes of a step and sums over the layers.
enum class BalanceScope : std::uint8_t {
  none,
  sequence,     ///< each sequence: the same on every grid and in micro-batches of every size
  batch,        ///< the micro-batch of a data rank (Megatron-LM's aux_loss)
  global,       ///< n: the micro-batches of all ranks, the mean of those of the step so far
                ///< (Qiu et al. 2025, arXiv:2501.11873; Megatron-LM's global_aux_loss)
  huggingface,  ///< the micro-batch of a data rank and all layers together, without the division by
                ///< k, as transformers' load_balancing_loss_func
};

/// How experts are chosen and kept busy, of [experts].
struct ExpertOptions {
  BalanceScope balance = BalanceScope::none;
  double balance_coefficient = 0.0;
  double z_loss_coefficient = 0.0;  ///< of the mean squared log-sum-exp of the router's logits
  bool has_bias = false;            ///< of the choice, learned without a loss (arXiv:2408.15664)
  bool rounds_logits = false;       ///< the router's logits, to the dtype of the model
  double capacity_factor = 2.0;     ///< see ExpertSizes::capacity

  static ExpertOptions of(const config::Parameters& parameters);
};

}  // namespace espalier::model
