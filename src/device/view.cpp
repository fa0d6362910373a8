#include "device/view.hpp"

namespace espalier::device {

std::string describe(const ConstView& view) {
  return view.is_contiguous()
             ? fmt::format("({}, {}) {}", view.rows, view.cols, name_of(view.dtype))
             : fmt::format("({}, {}) {} stride {}", view.rows, view.cols, name_of(view.dtype),
                           view.stride);
}

}  // namespace espalier::device
