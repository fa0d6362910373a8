#pragma once
#include <cstddef>

#if !defined(__x86_64__)
#include <ucontext.h>
#endif

namespace espalier::emulation {

struct StackBounds {
  std::byte* bottom = nullptr;
  std::size_t size = 0;
};

/// Where a fiber rests.
struct FiberContext {
#if defined(__x86_64__)
  void* stack_pointer = nullptr;  ///< the registers that a call preserves lie on the stack
#else
  ucontext_t registers{};
#endif
  void* sanitizer_state = nullptr;
};

}  // namespace espalier::emulation
