#pragma once
#include <array>
#include <cstdint>
#include <span>
#include <string_view>

namespace espalier {

/// Philox 4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC11): a block
/// of four words as a pure function of counter and key. Equal to Random123's philox4x32.
using PhiloxBlock = std::array<std::uint32_t, 4>;
PhiloxBlock philox(PhiloxBlock counter, std::array<std::uint32_t, 2> key);

/// A stream of random numbers addressed by index: element i of stream (seed, name) is the same
/// on every rank, grid and thread count. The key is the seed; the upper counter words are a hash
/// of the name; the lower words count blocks.
class RandomStream {
 public:
  RandomStream(std::uint64_t seed, std::string_view name);

  /// 64 random bits number `index`.
  std::uint64_t bits(std::uint64_t index) const;
  /// Uniform in [0, 1) with 53 bits, number `index`.
  double uniform(std::uint64_t index) const;
  /// out[j] = standard normal number first + j, by Box-Muller in double precision, times `std`.
  void normal(std::span<float> out, std::uint64_t first, double std) const;

 private:
  PhiloxBlock block(std::uint64_t index) const;
  std::array<std::uint32_t, 2> key_;
  std::uint64_t stream_;
};

}  // namespace espalier
