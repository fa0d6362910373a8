#pragma once
#include <cstdint>

namespace espalier::kernels {

/// 32-bit registers that travel together.
template <int kCount>
struct Words {
  std::uint32_t at[kCount];
};

}  // namespace espalier::kernels
