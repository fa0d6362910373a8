#include "cases.hpp"
#include "emulation/faults.hpp"

namespace espalier::testing {

void set_order(std::uint64_t seed) {
  emulation::settings().order_seed = seed;
}

bool has_warpgroups() {
  return true;
}

}  // namespace espalier::testing
