#pragma once
#include <cstdint>
#include <optional>
#include <set>

#include "emulation/site.hpp"

namespace espalier::emulation {

/// Mistakes that the emulation makes on purpose, so that tests can show that each would be found,
/// in the kernels as they are.
struct Faults {
  std::optional<Site> skipped_barrier = {};  ///< no thread waits at this barrier
  std::optional<int> absent_thread = {};     ///< this thread of a block skips barriers
  std::int64_t missing_shared_bytes = 0;  ///< a block gets that much less than it was launched with
  int extra_pending_copies = 0;           ///< every wait leaves that many more groups under way
  int extra_tail_columns = 0;             ///< the end of a row seems to lie further on
  std::optional<Site> skipped_wait = {};  ///< no thread waits for the barrier's phase here
  std::int64_t missing_transaction_bytes = 0;  ///< barriers expect that much less than asked
  int extra_pending_products = 0;  ///< every wait leaves that many more groups under way
  /// Tensor maps end that many rows too early, where rows are the last dimension but one.
  int missing_tail_rows = 0;
  bool without_turns = false;      ///< nobody waits for what another block publishes
  bool early_turns = false;        ///< all wait for one block fewer than they must
  bool incomplete_stores = false;  ///< waits until stores are complete only let them read
  bool without_product_fences = false;
  bool without_proxy_fences = false;
};

/// What every launch obeys until it is set again. Tests only: there is one, as there is one device.
struct Settings {
  std::uint64_t order_seed = 0;  ///< chooses the order of blocks and threads
  bool count_accesses = false;   ///< launches add to access_counts() (access_counter.hpp)
  Faults faults;
};
Settings& settings();

/// Barriers of blocks that any launch has reached since the set was last cleared.
std::set<Site>& barriers_reached();
/// The same for waits for the phase of a barrier.
std::set<Site>& waits_reached();

}  // namespace espalier::emulation
