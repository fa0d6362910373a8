#include "io/token_shard.hpp"

#include "fuzz/target.hpp"

using namespace espalier;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto path = fuzz::as_file(data, size, "shard.h5");
  return fuzz::must_accept_or_refuse([&] {
    const io::TokenShard shard = io::TokenShard::open(path, true);
    volatile std::uint32_t sum = 0;
    for (const auto token : shard.tokens()) sum = sum + static_cast<std::uint32_t>(token);
  });
}
