#include "huggingface/safetensors.hpp"

#include "fuzz/target.hpp"

using namespace espalier;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  return fuzz::must_accept_or_refuse([&] {
    const std::string_view bytes = fuzz::text_of(data, size);
    const std::uint64_t length = huggingface::header_length("x", bytes.substr(0, 8), size);
    for (const auto& tensor : huggingface::parse_header("x", bytes.substr(8, length), size))
      if (tensor.offset + tensor.bytes > size || tensor.offset < 8 + length ||
          tensor.num_elements() * huggingface::bytes_of(tensor.dtype) != tensor.bytes)
        std::abort();
  });
}
