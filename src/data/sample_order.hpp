#pragma once
#include <cstdint>

namespace espalier::data {

/// A pseudo-random permutation of [0, size) evaluated on the fly: a Feistel network of 6 rounds
/// with Philox as round function over the next power of four, cycle-walking into the domain (Black
/// & Rogaway 2002). O(1) memory; any element is addressable.
class Permutation {
 public:
  Permutation(std::uint64_t size, std::uint64_t seed, std::uint64_t epoch);
  std::uint64_t operator()(std::uint64_t index) const;

 private:
  std::uint64_t size_;
  std::uint64_t seed_, epoch_;
  int half_bits_;
};

/// Which sample of the data set is global sample number g of the run (g counts samples consumed
/// from the start of training, over all epochs). Pure function of (seed, g).
class SampleOrder {
 public:
  SampleOrder(std::uint64_t samples_per_epoch, std::uint64_t seed, bool shuffled);
  std::uint64_t sample(std::uint64_t global_index) const;
  std::uint64_t epoch(std::uint64_t global_index) const;

 private:
  std::uint64_t samples_, seed_;
  bool shuffled_;
};

}  // namespace espalier::data
