#include "cases.hpp"
#include "kernels/emulation/faults.hpp"

namespace espalier::testing {

void set_order(std::uint64_t seed) {
  kernels::emulation::settings().order_seed = seed;
}

bool has_warpgroups() {
  return true;
}

}  // namespace espalier::testing
