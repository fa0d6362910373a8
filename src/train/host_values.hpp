#pragma once
#include <vector>

#include "device/context.hpp"

namespace espalier::train {

/// fill(values) writes the elements of a contiguous f32 view that operators see: in place on the
/// host, through host memory of its size on a GPU.
template <class Fill>
void fill_from_host(device::Context& context, const device::View& view, Fill&& fill) {
  if (context.on_host()) {
    fill(view.as<float>());
    return;
  }
  std::vector<float> values(static_cast<std::size_t>(view.size()));
  fill(values.data());
  context.upload(view, values.data());
}

}  // namespace espalier::train
