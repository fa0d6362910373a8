#pragma once
#include <memory>
#include <span>
#include <string>

struct XXH3_state_s;  // of xxhash.h

namespace espalier {

/// 128-bit XXH3 of bytes that come one part after another: equal values may be taken for equal
/// bytes, however many are compared.
class WideHash {
 public:
  WideHash();
  void add(std::span<const std::byte> bytes);
  /// Of all so far: 32 hexadecimal digits, as `xxhsum -H128` prints them.
  std::string hex() const;

 private:
  std::unique_ptr<XXH3_state_s, void (*)(XXH3_state_s*)> state_;
};

}  // namespace espalier
