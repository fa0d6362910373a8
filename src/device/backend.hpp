#pragma once
#include <cstdint>
#include <string_view>

namespace espalier::device {

/// Who computes. `emulated` runs the CUDA kernels on the host, thread by thread, in memory that the
/// rest of the program cannot touch: it is a GPU for tests and debugging, and slow.
enum class Backend : std::uint8_t { host, cuda, emulated };

std::string_view name_of(Backend backend);  ///< "host", "cuda", "emulated"

}  // namespace espalier::device
