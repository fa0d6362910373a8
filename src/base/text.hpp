#pragma once
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <vector>

struct XXH3_state_s;  // of xxhash.h

namespace espalier {

/// 64-bit XXH3 of bytes: checksums of shards and checkpoints, identity of tokenizers.
std::uint64_t hash_bytes(std::span<const std::byte> bytes, std::uint64_t seed = 0);
/// hash_bytes of bytes that come one part after another.
class BytesHash {
 public:
  BytesHash();
  void add(std::span<const std::byte> bytes);
  std::uint64_t value() const;  ///< of all so far

 private:
  std::unique_ptr<XXH3_state_s, void (*)(XXH3_state_s*)> state_;
};
std::uint64_t hash_text(std::string_view text);

/// The candidate with the smallest edit distance to `word`, or empty when none is near
/// (distance over a third of the length): the "did you mean" of error messages.
std::string nearest_name(std::string_view word, std::span<const std::string> candidates);

std::string human_bytes(double bytes);       ///< "1.50 GiB"
std::string human_count(double count);       ///< "42.0M"
std::string human_duration(double seconds);  ///< "1 h 02 min", "45 s"
/// 1234567 -> "1,234,567"
std::string with_commas(std::int64_t value);

}  // namespace espalier
