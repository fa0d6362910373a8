#pragma once
#include <map>
#include <string>
#include <vector>

#include "emulation/clocks.hpp"
#include "emulation/shared_memory.hpp"
#include "emulation/tensor_map.hpp"

namespace espalier::emulation {

class Block;

/// The mbarriers of a block and the copies of boxes that they count. A copy lands as late as it
/// may, when the phase of its barrier ends; until then its place can be neither read nor written,
/// and after that only by who has waited for the phase, or has met one who did.
class Transactions {
 public:
  explicit Transactions(Block& block) : block_(block) {}

  void init(std::uint32_t barrier, int num_arrivals, Site site);
  void arrive(std::uint32_t barrier, std::int64_t expected_bytes);
  void wait(std::uint32_t barrier, int parity, Site site);
  void load(const TensorMap& map, const int (&at)[device::kMaxTensorRank], std::uint32_t to,
            std::uint32_t barrier);

  /// Copies to device memory, in groups of the thread that starts them. They read shared memory
  /// when they are waited for; until then it must not change.
  void store(const TensorMap& map, const int (&at)[device::kMaxTensorRank], std::uint32_t from);
  void commit_stores();
  void wait_for_stores(int num_pending);
  /// Neighbouring floats, stored or added; in the same groups. They are in device memory only when
  /// they are waited for until they are complete.
  void store_floats(float* to, std::uint32_t from, int bytes, bool adds);
  void complete_stores(int num_pending);

  /// Which threads wait for what; empty when none does.
  std::string describe_waiting() const;
  /// A block must not end while stores read its shared memory.
  void end_block() const;

 private:
  struct Copy {
    TensorMap map;
    int at[device::kMaxTensorRank];
    std::int64_t place;
  };
  struct Barrier {
    Site site;
    Accessor made_by;
    int agent;
    int num_arrivals;
    int missing_arrivals;
    std::uint32_t phase = 0;
    std::int64_t expected_bytes = 0, copied_bytes = 0;
    std::vector<Copy> copies;
    Clocks::Times gathering, released;  ///< what those know who arrived in this phase, the last one
    std::vector<int> waiting;
    Site waiting_at;
  };
  struct FloatStore {
    float* to;
    std::int64_t place;
    int bytes;
    bool adds;
    std::uint64_t number;          ///< of Turns
    std::vector<float> held = {};  ///< what was read
  };
  struct StoreGroup {
    std::vector<Copy> boxes;
    std::vector<FloatStore> floats;
  };
  struct Stores {
    std::vector<StoreGroup> groups{{}};  ///< the last one is still open
    std::vector<FloatStore> landing;     ///< read, and not complete
  };
  Barrier& find(std::uint32_t address);
  void end_phase_if_complete(Barrier& barrier);

  Block& block_;
  std::map<std::uint32_t, Barrier> barriers_;
  std::map<int, Stores> stores_;  ///< by thread
};

}  // namespace espalier::emulation
