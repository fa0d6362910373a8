#include "fuzz/target.hpp"
#include "huggingface/config_json.hpp"

using namespace espalier;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  return fuzz::must_accept_or_refuse([&] {
    const auto model = huggingface::read_config("x", fuzz::text_of(data, size));
    // What was accepted can be written, and is then the same model.
    const std::string text = huggingface::write_config({.model = model, .dtype = "float32"});
    if (!huggingface::differences(huggingface::read_config("y", text), model).empty()) std::abort();
  });
}
