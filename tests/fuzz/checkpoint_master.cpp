#include "fuzz/target.hpp"
#include "io/checkpoint_format.hpp"

using namespace espalier;

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto path = fuzz::as_file(data, size, "master.h5");
  return fuzz::must_accept_or_refuse([&] {
    io::CheckpointInfo info;
    io::CheckpointIndex index;
    io::read_master_file(path, info, index);
  });
}
