#include "optim/expert_bias.hpp"

#include <algorithm>
#include <numeric>

#include "base/error.hpp"

namespace espalier::optim {

ExpertBias::ExpertBias(device::View bias, const config::ExpertParameters& parameters)
    : bias_(bias),
      rate_(parameters.bias_update_rate),
      keeps_mean_(parameters.bias_update == "torchtitan"),
      values_(static_cast<std::size_t>(bias.size())) {}

void ExpertBias::update(device::Context& context, std::span<const double> choices) {
  ESPALIER_ASSERT(choices.size() == values_.size(), "{} counts of {} experts", choices.size(),
                  values_.size());
  const auto num_experts = static_cast<std::size_t>(bias_.cols);
  std::vector<double> signs(num_experts);
  for (std::size_t begin = 0; begin < choices.size(); begin += num_experts) {
    const std::span<const double> n = choices.subspan(begin, num_experts);
    const double mean = std::accumulate(n.begin(), n.end(), 0.0) / static_cast<double>(num_experts);
    for (std::size_t e = 0; e < num_experts; ++e)
      signs[e] = n[e] < mean ? 1.0 : n[e] > mean ? -1.0 : 0.0;
    const double shift = keeps_mean_ ? std::accumulate(signs.begin(), signs.end(), 0.0) /
                                           static_cast<double>(num_experts)
                                     : 0.0;
    for (std::size_t e = 0; e < num_experts; ++e)
      values_[begin + e] += static_cast<float>(rate_ * (signs[e] - shift));
  }
  context.upload(bias_, values_.data());
}

void ExpertBias::set(device::Context& context, std::span<const float> values) {
  ESPALIER_ASSERT(values.size() == values_.size(), "{} values of {}", values.size(),
                  values_.size());
  std::copy(values.begin(), values.end(), values_.begin());
  context.upload(bias_, values_.data());
}

}  // namespace espalier::optim
