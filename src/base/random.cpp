#include "base/random.hpp"

#include <xxhash.h>

#include <cmath>
#include <numbers>

namespace espalier {

PhiloxBlock philox(PhiloxBlock c, std::array<std::uint32_t, 2> k) {
  for (int round = 0; round < 10; ++round) {
    const std::uint64_t p0 = std::uint64_t{0xD2511F53u} * c[0];
    const std::uint64_t p1 = std::uint64_t{0xCD9E8D57u} * c[2];
    c = {static_cast<std::uint32_t>(p1 >> 32) ^ c[1] ^ k[0], static_cast<std::uint32_t>(p1),
         static_cast<std::uint32_t>(p0 >> 32) ^ c[3] ^ k[1], static_cast<std::uint32_t>(p0)};
    k[0] += 0x9E3779B9u;
    k[1] += 0xBB67AE85u;
  }
  return c;
}

RandomStream::RandomStream(std::uint64_t seed, std::string_view name)
    : key_{static_cast<std::uint32_t>(seed), static_cast<std::uint32_t>(seed >> 32)},
      stream_(XXH64(name.data(), name.size(), 0)) {}

PhiloxBlock RandomStream::block(std::uint64_t index) const {
  return philox({static_cast<std::uint32_t>(index), static_cast<std::uint32_t>(index >> 32),
                 static_cast<std::uint32_t>(stream_), static_cast<std::uint32_t>(stream_ >> 32)},
                key_);
}

std::uint64_t RandomStream::bits(std::uint64_t index) const {
  const PhiloxBlock b = block(index / 2);
  const std::size_t half = 2 * (index % 2);
  return (std::uint64_t{b[half + 1]} << 32) | b[half];
}

double RandomStream::uniform(std::uint64_t index) const {
  return static_cast<double>(bits(index) >> 11) * 0x1.0p-53;
}

void RandomStream::normal(std::span<float> out, std::uint64_t first, double std) const {
  // Normals 4b .. 4b+3 come from block b: two Box-Muller pairs of two words each.
  for (std::size_t j = 0; j < out.size();) {
    const std::uint64_t index = first + j;
    const PhiloxBlock b = block(index / 4);
    double z[4];
    for (std::size_t pair = 0; pair < 2; ++pair) {
      // Half a step inside (0, 1): the logarithm never sees 0.
      const double u = (static_cast<double>(b[2 * pair]) + 0.5) * 0x1.0p-32;
      const double angle =
          2.0 * std::numbers::pi * static_cast<double>(b[2 * pair + 1]) * 0x1.0p-32;
      const double radius = std::sqrt(-2.0 * std::log(u));
      z[2 * pair] = radius * std::cos(angle);
      z[2 * pair + 1] = radius * std::sin(angle);
    }
    for (std::size_t lane = index % 4; lane < 4 && j < out.size(); ++lane, ++j)
      out[j] = static_cast<float>(std * z[lane]);
  }
}

}  // namespace espalier
