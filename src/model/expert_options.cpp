#include "model/expert_options.hpp"

#include "base/error.hpp"

namespace espalier::model {

ExpertOptions ExpertOptions::of(const config::Parameters& p) {
  const config::ExpertParameters& e = p.experts;
  ExpertOptions options{.z_loss_coefficient = e.z_loss_coefficient,
                        .has_bias = e.balance == "bias",
                        .rounds_logits = e.router_dtype == "model",
                        .capacity_factor = e.capacity_factor};
  if (e.balance == "none" || p.model.num_experts == 0) return options;
  const double usual = options.has_bias ? 0.0 : p.model.router_aux_loss_coef;
  options.balance_coefficient = e.balance_coefficient < 0.0 ? usual : e.balance_coefficient;
  if (options.balance_coefficient == 0.0) return options;
  options.balance = e.balance == "batch"         ? BalanceScope::batch
                    : e.balance == "global"      ? BalanceScope::global
                    : e.balance == "huggingface" ? BalanceScope::huggingface
                                                 : BalanceScope::sequence;
  return options;
}

}  // namespace espalier::model
