#include "data/sample_order.hpp"

#include "base/error.hpp"
#include "base/random.hpp"

namespace espalier::data {
namespace {

constexpr std::uint32_t kRounds = 6;
// The weights' streams use the same seed as key of the same generator; another key keeps the
// sample order independent of them.
constexpr std::uint64_t kKeyOfOrder = 0x73616D706C65735FULL;  // "samples_"

}  // namespace

Permutation::Permutation(std::uint64_t size, std::uint64_t seed, std::uint64_t epoch)
    : size_(size), seed_(seed ^ kKeyOfOrder), epoch_(epoch), half_bits_(0) {
  ESPALIER_ASSERT(size > 0);
  // The smallest 4^half_bits >= size: less than four evaluations on average in the walk below.
  while (half_bits_ < 32 && (std::uint64_t{1} << (2 * half_bits_)) < size) ++half_bits_;
}

std::uint64_t Permutation::operator()(std::uint64_t index) const {
  ESPALIER_ASSERT(index < size_, "index {}, size {}", index, size_);
  if (half_bits_ == 0) return index;
  const std::array<std::uint32_t, 2> key{static_cast<std::uint32_t>(seed_),
                                         static_cast<std::uint32_t>(seed_ >> 32)};
  const auto mask = static_cast<std::uint32_t>((std::uint64_t{1} << half_bits_) - 1);
  do {
    auto left = static_cast<std::uint32_t>(index >> half_bits_);
    auto right = static_cast<std::uint32_t>(index) & mask;
    for (std::uint32_t round = 0; round < kRounds; ++round) {
      const PhiloxBlock random = philox({right, round, static_cast<std::uint32_t>(epoch_),
                                         static_cast<std::uint32_t>(epoch_ >> 32)},
                                        key);
      const std::uint32_t mixed = left ^ (random[0] & mask);
      left = right;
      right = mixed;
    }
    index = (std::uint64_t{left} << half_bits_) | right;
    // Cycle-walking: a step from inside leads back inside after finitely many steps, and the
    // first return is again a bijection.
  } while (index >= size_);
  return index;
}

SampleOrder::SampleOrder(std::uint64_t samples_per_epoch, std::uint64_t seed, bool shuffled)
    : samples_(samples_per_epoch), seed_(seed), shuffled_(shuffled) {
  ESPALIER_ASSERT(samples_per_epoch > 0);
}

std::uint64_t SampleOrder::sample(std::uint64_t global_index) const {
  const std::uint64_t within = global_index % samples_;
  return shuffled_ ? Permutation(samples_, seed_, epoch(global_index))(within) : within;
}

std::uint64_t SampleOrder::epoch(std::uint64_t global_index) const {
  return global_index / samples_;
}

}  // namespace espalier::data
