#include "plan/time/host_operator.hpp"

#include "plan/time/attention_pairs.hpp"

#include <algorithm>
#include <cmath>

#include "base/error.hpp"

namespace espalier::plan {
namespace {

/// Gsomething per second of seconds per something; none where there is no such term.
double giga(double seconds) {
  return seconds > 0.0 ? 1e-9 / seconds : 0.0;
}
double seconds_each(double giga_per_second) {
  return giga_per_second > 0.0 ? 1e-9 / giga_per_second : 0.0;
}

/// In the order of terms_of.
std::vector<double> coefficients_of(const HostCall& call, const config::OperatorRate& rate) {
  const double overhead = 1e-6 * rate.overhead_us;
  if (call.is_product())
    return {overhead, seconds_each(rate.gflops), 1e-12 * rate.left_ps, 1e-12 * rate.right_ps,
            1e-12 * rate.result_ps};
  if (call.is_attention())
    return {overhead, seconds_each(rate.gflops), 1e-12 * rate.pair_ps, 1e-12 * rate.row_ps,
            1e-12 * rate.element_ps};
  return {overhead, seconds_each(rate.gbs)};
}

}  // namespace

HostCall call_of(const device::Operation& operation, const device::PhaseCost& cost,
                 const config::Parameters& p) {
  const auto calls = static_cast<double>(cost.calls);
  HostCall call{.name = std::string(operation.name),
                .m = static_cast<double>(operation.m),
                .n = static_cast<double>(operation.n),
                .k = static_cast<double>(operation.k),
                .flops = cost.flops / calls,
                .bytes = cost.bytes / calls};
  if (!operation.name.starts_with("attention")) return call;
  const auto length = static_cast<double>(p.training.sequence_length);
  const double document = document_length(p);
  const double flops_of_pair =
      (operation.name.ends_with("backward") ? 10.0 : 4.0) * static_cast<double>(p.model.head_dim);
  call.head_dim = static_cast<double>(p.model.head_dim);
  call.queries = call.flops / flops_of_pair / (0.5 * (length + 1.0));  // as whole sequences counted
  call.pairs = attention_pairs(call.queries, length, document);
  call.flops = flops_of_pair * call.pairs;
  return call;
}

std::vector<double> terms_of(const HostCall& call) {
  if (call.is_product())
    return {1.0, call.flops, call.m * call.k, call.k * call.n, call.m * call.n};
  if (call.is_attention())
    return {1.0, call.flops, call.pairs, call.queries, call.queries * call.head_dim};
  return {1.0, call.bytes};
}

config::OperatorRate rate_of(const HostCall& call, const std::string& dtype,
                             const std::vector<double>& c) {
  ESPALIER_ASSERT(c.size() == terms_of(call).size(), "{} coefficients of {}", c.size(), call.name);
  config::OperatorRate rate{.name = call.name, .overhead_us = 1e6 * c[0], .dtype = dtype};
  if (call.is_product()) {
    rate.gflops = giga(c[1]);
    rate.left_ps = 1e12 * c[2];
    rate.right_ps = 1e12 * c[3];
    rate.result_ps = 1e12 * c[4];
  } else if (call.is_attention()) {
    rate.gflops = giga(c[1]);
    rate.pair_ps = 1e12 * c[2];
    rate.row_ps = 1e12 * c[3];
    rate.element_ps = 1e12 * c[4];
  } else {
    rate.gbs = giga(c[1]);
  }
  return rate;
}

double seconds_of(const HostCall& call, const config::OperatorRate& rate) {
  const std::vector<double> terms = terms_of(call), coefficients = coefficients_of(call, rate);
  double seconds = 0.0;
  for (std::size_t i = 0; i < terms.size(); ++i) seconds += coefficients[i] * terms[i];
  return seconds;
}

}  // namespace espalier::plan
