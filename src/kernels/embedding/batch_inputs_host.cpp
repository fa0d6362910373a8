#include "kernels/embedding/batch_inputs.hpp"

#include "kernels/backends.hpp"
#include "kernels/embedding/batch_inputs_shapes.hpp"
#include "kernels/loss/cross_entropy.hpp"

// Last: what follows is compiled for one SIMD level.
#include "base/simd/target.hpp"

namespace espalier::kernels::host::ESPALIER_SIMD {

void batch_inputs(device::Context&, const BatchInputs& a) {
  require_shapes(a);
  const std::int64_t length = gathered_length(a);
  const bool masked = a.document_start.exists();
  for (std::int64_t b = 0; b < a.samples.rows; ++b) {
    const auto* sample = a.samples.as<std::uint32_t>(b);
    const auto* places =
        a.document_positions.exists() ? a.document_positions.as<std::int32_t>(b) : nullptr;
    const auto* starts =
        a.block_length > 0 ? a.block_starts.as<std::int32_t>() + b * a.block_starts.cols : nullptr;
    for (std::int64_t j = 0; starts != nullptr && j < a.block_starts.cols; ++j)
      ESPALIER_ASSERT(starts[j] >= 0 && starts[j] + a.block_length < a.samples.cols,
                      "block {} of sample {} begins at {} of {} tokens", j, b, starts[j],
                      a.samples.cols - 1);
    for (std::int64_t i = 0; i < length; ++i) {
      const std::int64_t t = b * length + i;
      const std::int64_t s =
          starts == nullptr ? i : starts[i / a.block_length] + i % a.block_length;
      const bool counts =
          b < a.num_counted && (a.predict_across || places == nullptr || places[s + 1] != 0);
      const auto position = static_cast<std::int32_t>(s);
      a.tokens.as<std::uint32_t>()[t] = sample[s];
      a.targets.as<std::uint32_t>()[t] = counts ? sample[s + 1] : kIgnoredTarget;
      a.position_ids.as<std::int32_t>()[t] = masked ? places[s] : position;
      if (masked) a.document_start.as<std::int32_t>()[t] = position - places[s];
    }
  }
}

}  // namespace espalier::kernels::host::ESPALIER_SIMD
