#include <catch2/catch.hpp>

#include "binary.hpp"
#include "io/packed_tokens.hpp"

using namespace espalier::io;
using espalier::testing::bytes;

namespace {

using Ids = std::vector<std::uint32_t>;

PackedTokens view(const std::string& text, TokenType type) {
  return {std::as_bytes(std::span(text)), type};
}

/// Five ids, the third of which is met again as the last.
template <class T>
void check_type(TokenType type, const char* name) {
  INFO(name);
  const std::string text = "x" + bytes<T>({3, 0, 100, 7, 100});  // at an odd address
  const PackedTokens tokens(std::as_bytes(std::span(text)).subspan(1), type);
  CHECK(name_of(type) == name);
  CHECK(bytes_of(type) == sizeof(T));
  REQUIRE(tokens.size() == 5);
  CHECK(tokens[2] == 100);
  CHECK(tokens.find(100, 0) == 2);
  CHECK(tokens.find(100, 3) == 4);
  CHECK(tokens.find(100, 5) == 5);
  CHECK(tokens.find(4'000'000'000, 0) == 5);
  Ids ids = {1};
  CHECK(tokens.append_to(ids, 101) == 5);
  CHECK(ids == Ids{1, 3, 0, 100, 7, 100});
  CHECK(tokens.part(1, 3).append_to(ids, 100) == 1);  // the second of three is no id
  CHECK(ids == Ids{1, 3, 0, 100, 7, 100, 0});
}

}  // namespace

TEST_CASE("ids of every integer type are read at any address", "[packed_tokens]") {
  check_type<std::uint8_t>(TokenType::uint8, "uint8");
  check_type<std::int8_t>(TokenType::int8, "int8");
  check_type<std::uint16_t>(TokenType::uint16, "uint16");
  check_type<std::int16_t>(TokenType::int16, "int16");
  check_type<std::uint32_t>(TokenType::uint32, "uint32");
  check_type<std::int32_t>(TokenType::int32, "int32");
  check_type<std::int64_t>(TokenType::int64, "int64");
}

TEST_CASE("numbers below 0 and past 32 bits are no ids", "[packed_tokens]") {
  Ids ids;
  const std::string negative = bytes<std::int16_t>({5, -1});
  CHECK(view(negative, TokenType::int16).append_to(ids, 0xFFFFFFFF) == 1);
  CHECK(view(negative, TokenType::int16).find(0xFFFF, 0) == 2);
  CHECK(view(negative, TokenType::int16)[1] == -1);
  const std::string large = bytes<std::int64_t>({(std::int64_t{1} << 32) + 5, 5});
  CHECK(view(large, TokenType::int64).append_to(ids, 10) == 0);
  CHECK(view(large, TokenType::int64).find(5, 0) == 1);
  CHECK(ids == Ids{5});
}

TEST_CASE("no ids are no ids", "[packed_tokens]") {
  const PackedTokens none;
  Ids ids;
  CHECK(none.empty());
  CHECK(none.size() == 0);
  CHECK(none.find(0, 0) == 0);
  CHECK(none.append_to(ids, 5) == 0);
}
