#include "io/packed_tokens.hpp"

#include <bit>
#include <cstring>
#include <utility>

#include "base/error.hpp"

namespace espalier::io {
namespace {

static_assert(std::endian::native == std::endian::little,
              "ids are taken from the files as they lie there, which is little-endian");

template <class T>
T load(const std::byte* at) {
  T value;
  std::memcpy(&value, at, sizeof(T));
  return value;
}

/// action(T()) for the type that `type` means.
template <class Action>
auto with_type(TokenType type, Action&& action) {
  switch (type) {
    case TokenType::uint8:
      return action(std::uint8_t());
    case TokenType::int8:
      return action(std::int8_t());
    case TokenType::uint16:
      return action(std::uint16_t());
    case TokenType::int16:
      return action(std::int16_t());
    case TokenType::uint32:
      return action(std::uint32_t());
    case TokenType::int32:
      return action(std::int32_t());
    case TokenType::int64:
      return action(std::int64_t());
  }
  ESPALIER_ASSERT(false, "type {}", static_cast<int>(type));
  return action(std::uint8_t());
}

}  // namespace

std::string_view name_of(TokenType type) {
  constexpr std::string_view kNames[] = {"uint8",  "int8",  "uint16", "int16",
                                         "uint32", "int32", "int64"};
  return kNames[static_cast<std::size_t>(type)];
}

std::size_t bytes_of(TokenType type) {
  return with_type(type, [](auto zero) { return sizeof(zero); });
}

PackedTokens::PackedTokens(std::span<const std::byte> bytes, TokenType type)
    : bytes_(bytes), type_(type) {
  ESPALIER_ASSERT(bytes.size() % bytes_of(type) == 0, "{} bytes", bytes.size());
}

std::int64_t PackedTokens::operator[](std::uint64_t i) const {
  ESPALIER_ASSERT(i < size());
  return with_type(type_, [&]<class T>(T) {
    return static_cast<std::int64_t>(load<T>(bytes_.data() + i * sizeof(T)));
  });
}

PackedTokens PackedTokens::part(std::uint64_t first, std::uint64_t count) const {
  ESPALIER_ASSERT(first <= size() && count <= size() - first);
  return {bytes_.subspan(first * bytes_of(type_), count * bytes_of(type_)), type_};
}

std::uint64_t PackedTokens::find(std::uint32_t id, std::uint64_t from) const {
  return with_type(type_, [&]<class T>(T) {
    const std::uint64_t count = size();
    if (!std::in_range<T>(id)) return count;
    const T wanted = static_cast<T>(id);
    std::uint64_t i = from;
    while (i < count && load<T>(bytes_.data() + i * sizeof(T)) != wanted) ++i;
    return i;
  });
}

std::uint64_t PackedTokens::append_to(std::vector<std::uint32_t>& ids,
                                      std::uint32_t vocabulary) const {
  return with_type(type_, [&]<class T>(T) {
    const std::uint64_t count = size();
    const std::size_t before = ids.size();
    ids.resize(before + count);
    for (std::uint64_t i = 0; i < count; ++i) {
      const T value = load<T>(bytes_.data() + i * sizeof(T));
      if (std::cmp_less(value, 0) || std::cmp_greater_equal(value, vocabulary)) {
        ids.resize(before + i);
        return i;
      }
      ids[before + i] = static_cast<std::uint32_t>(value);
    }
    return count;
  });
}

}  // namespace espalier::io
