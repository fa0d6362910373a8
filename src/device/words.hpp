#pragma once
#include <cstdint>

namespace espalier::device {

/// 32-bit registers that travel together.
template <int kCount>
struct Words {
  std::uint32_t at[kCount];
};

}  // namespace espalier::device
