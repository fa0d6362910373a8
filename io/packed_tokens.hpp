#pragma once
#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>
#include <vector>

namespace espalier::io {

/// Integers as which other programs keep the ids of tokens.
enum class TokenType : std::uint8_t { uint8, int8, uint16, int16, uint32, int32, int64 };
std::string_view name_of(TokenType type);
std::size_t bytes_of(TokenType type);

/// Ids as they lie in a mapped file, little-endian and at any address. A view.
class PackedTokens {
 public:
  PackedTokens() = default;
  /// `bytes`: a whole number of ids.
  PackedTokens(std::span<const std::byte> bytes, TokenType type);

  TokenType type() const { return type_; }
  std::uint64_t size() const { return bytes_.size() / bytes_of(type_); }
  bool empty() const { return bytes_.empty(); }
  /// Not every one need be an id: an integer may be below 0, or larger than any vocabulary.
  std::int64_t operator[](std::uint64_t i) const;
  PackedTokens part(std::uint64_t first, std::uint64_t count) const;

  /// Where `id` is met first, at `from` or behind it; size(): nowhere.
  std::uint64_t find(std::uint32_t id, std::uint64_t from) const;
  /// Appends the ids to `ids`. Stops at the first that is not below `vocabulary` and returns where
  /// that is; size(): there is none.
  std::uint64_t append_to(std::vector<std::uint32_t>& ids, std::uint32_t vocabulary) const;

 private:
  std::span<const std::byte> bytes_;
  TokenType type_ = TokenType::uint16;
};

}  // namespace espalier::io
