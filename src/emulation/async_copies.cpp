#include "emulation/async_copies.hpp"

#include <array>
#include <cstring>

#include "base/error.hpp"

namespace espalier::emulation {
namespace {

using Chunk = std::array<std::byte, 16>;

}  // namespace

void AsyncCopies::start(SharedMemory& shared, std::int64_t to, const void* from,
                        const Accessor& who) {
  require(reinterpret_cast<std::uintptr_t>(from) % sizeof(Chunk) == 0, ExitStatus::internal,
          "emulation: an asynchronous copy of 16 bytes from {}: not aligned", from);
  shared.begin_copy(to, sizeof(Chunk), who);
  groups_.back().push_back({to, from});
}

void AsyncCopies::wait(SharedMemory& shared, int num_pending, const Accessor& who) {
  while (groups_.size() > static_cast<std::size_t>(num_pending) + 1) {
    for (const Copy& copy : groups_.front()) {
      Chunk chunk{};
      if (copy.from != nullptr) std::memcpy(chunk.data(), copy.from, chunk.size());
      shared.end_copy(copy.to, chunk.data(), sizeof chunk, who);
    }
    groups_.pop_front();
  }
}

}  // namespace espalier::emulation
