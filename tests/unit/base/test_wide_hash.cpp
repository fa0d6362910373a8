#include <catch2/catch.hpp>
#include <string_view>

#include "base/wide_hash.hpp"

using namespace espalier;

TEST_CASE("a wide hash is XXH3's of 128 bits, whatever parts its bytes come in") {
  const auto hash_of = [](std::initializer_list<std::string_view> parts) {
    WideHash hash;
    for (const std::string_view part : parts) hash.add(std::as_bytes(std::span(part)));
    return hash.hex();
  };
  // As xxhash.xxh3_128_hexdigest of Python says.
  CHECK(hash_of({}) == "99aa06d3014798d86001c324468d497f");
  CHECK(hash_of({"espalier"}) == "b6ff2932862d22ba544aab6cc9256f7c");
  CHECK(hash_of({"esp", "", "alier"}) == hash_of({"espalier"}));
  CHECK(hash_of({"espalier"}) != hash_of({"espalies"}));
}
