#include "fuzz/target.hpp"
#include "tokenizer/definition.hpp"

using namespace espalier;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  return fuzz::must_accept_or_refuse(
      [&] { tokenizer::read_tokenizer_json("x", fuzz::text_of(data, size)); });
}
