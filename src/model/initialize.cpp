#include "model/initialize.hpp"

#include <algorithm>

#include "base/host_loops.hpp"
#include "base/random.hpp"

namespace espalier::model {

void initialize(const Architecture& architecture, const parallel::TensorSpec& spec,
                std::uint64_t seed, const parallel::Rectangle& rectangle, float* out) {
  if (rectangle.empty()) return;
  if (spec.init != parallel::Init::normal) {
    std::fill_n(out, rectangle.size(), spec.init == parallel::Init::ones ? 1.0F : 0.0F);
    return;
  }
  const double deviation = architecture.initializer_range * spec.init_scale;
  const RandomStream stream(seed, spec.name);
  const std::int64_t cols = rectangle.cols();
  host_for_ranges(rectangle.rows(), 1, [&](std::int64_t begin, std::int64_t end) {
    for (std::int64_t row = begin; row < end; ++row) {
      const std::int64_t first = (rectangle.row_begin + row) * spec.cols + rectangle.col_begin;
      stream.normal({out + row * cols, static_cast<std::size_t>(cols)},
                    static_cast<std::uint64_t>(first), deviation);
    }
  });
}

}  // namespace espalier::model
