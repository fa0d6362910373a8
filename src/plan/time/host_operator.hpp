#pragma once
#include <string>
#include <vector>

#include "config/parameters.hpp"
#include "device/profiler.hpp"

namespace espalier::plan {

/// One call of an operation as the time of a host depends on it.
struct HostCall {
  std::string name;               ///< as the profiler has it: "gemm forward", "attention_forward"
  double m = 0, n = 0, k = 0;     ///< of a product (m, k) (k, n)
  double flops = 0, bytes = 0;    ///< that the operator states
  double head_dim = 0;            ///< of attention
  double pairs = 0, queries = 0;  ///< of attention: (query, key) pairs and queries of all heads

  bool is_product() const { return m > 0; }
  bool is_attention() const { return pairs > 0; }
};

/// The mean call of an operation of a step of resolved parameters, as it was counted. Attention
/// inside documents (data.document_mask) is that of bench.document_tokens.
HostCall call_of(const device::Operation& operation, const device::PhaseCost& cost,
                 const config::Parameters& parameters);

/// What the seconds of a call on a host are a sum of, each with a coefficient of its own:
///   products    1, FLOPs, and the elements of (m, k), (k, n) and (m, n): a library copies its
///               operands into blocks, and what it does for an edge grows with them
///   attention   1, FLOPs, pairs (softmax), queries, and the elements of the queries
///   others      1, bytes
std::vector<double> terms_of(const HostCall& call);
/// The rate with these coefficients, in the order of terms_of: seconds = sum of coefficient x term.
config::OperatorRate rate_of(const HostCall& call, const std::string& dtype,
                             const std::vector<double>& coefficients);
/// Seconds of a call at a rate.
double seconds_of(const HostCall& call, const config::OperatorRate& rate);

}  // namespace espalier::plan
