#pragma once
#include <string>

#include "bench/job.hpp"
#include "bench/operator_timer.hpp"
#include "kernels/attention/attention_provider.hpp"

namespace espalier::bench {

/// What the job's block asks of attention.
kernels::AttentionRequest attention_request(BenchJob& job, bool backward);

/// Adds two rows, `name` and `name` backward: attention of the job's block by `provider`. None
/// where the provider cannot. Gradients that the provider cannot repeat to the bit are measured all
/// the same, as "any order": a bound to be compared with.
void time_attention(OperatorTimer& timer, BenchJob& job, kernels::AttentionProvider provider,
                    const std::string& name);

}  // namespace espalier::bench
