#include "emulation/fiber.hpp"

#include <pthread.h>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/common_interface_defs.h>
#endif

#include <cstdint>

// Switching by ucontext costs two system calls, thirty times as much as these instructions: they
// keep the registers that the System V ABI lets a function expect unchanged.
#if defined(__x86_64__)
extern "C" void espalier_switch_stack(void** rest, void* go_on);
asm(R"(
  .text
  .globl espalier_switch_stack
  .type espalier_switch_stack, @function
espalier_switch_stack:
  pushq %rbp
  pushq %rbx
  pushq %r12
  pushq %r13
  pushq %r14
  pushq %r15
  movq %rsp, (%rdi)
  movq %rsi, %rsp
  popq %r15
  popq %r14
  popq %r13
  popq %r12
  popq %rbx
  popq %rbp
  ret
  .size espalier_switch_stack, . - espalier_switch_stack
)");
#endif

namespace espalier::emulation {
namespace {

/// Address sanitizer must know which stack is in use.
void leave_stack([[maybe_unused]] FiberContext& from, [[maybe_unused]] const StackBounds& to) {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_start_switch_fiber(&from.sanitizer_state, to.bottom, to.size);
#endif
}
void enter_stack([[maybe_unused]] void* sanitizer_state) {
#if defined(__SANITIZE_ADDRESS__)
  __sanitizer_finish_switch_fiber(sanitizer_state, nullptr, nullptr);
#endif
}

/// Asked once, because the answer is read from a file of the kernel.
StackBounds bounds_of_this_thread() {
  static thread_local const StackBounds bounds = [] {
    StackBounds found;
    pthread_attr_t attributes;
    if (pthread_getattr_np(pthread_self(), &attributes) == 0) {
      void* bottom = nullptr;
      pthread_attr_getstack(&attributes, &bottom, &found.size);
      found.bottom = static_cast<std::byte*>(bottom);
      pthread_attr_destroy(&attributes);
    }
    return found;
  }();
  return bounds;
}

}  // namespace

Fiber::Fiber() : bounds_(bounds_of_this_thread()) {}

Fiber::Fiber(std::size_t stack_bytes, void (*entry)())
    : stack_(new std::byte[stack_bytes]),  // not zeroed: most of it is never touched
      bounds_{stack_.get(), stack_bytes} {
#if defined(__x86_64__)
  const auto end = reinterpret_cast<std::uintptr_t>(bounds_.bottom + stack_bytes);
  auto** top = reinterpret_cast<void**>(end & ~std::uintptr_t{15});
  *--top = nullptr;  // a function is entered with its return address 8 bytes off the alignment
  *--top = reinterpret_cast<void*>(entry);
  constexpr int kPreserved = 6;
  for (int i = 0; i < kPreserved; ++i) *--top = nullptr;
  context_.stack_pointer = top;
#else
  getcontext(&context_.registers);
  context_.registers.uc_stack.ss_sp = bounds_.bottom;
  context_.registers.uc_stack.ss_size = stack_bytes;
  makecontext(&context_.registers, entry, 0);
#endif
}

void Fiber::hand_over(Fiber& from, Fiber& to) {
  leave_stack(from.context_, to.bounds_);
#if defined(__x86_64__)
  espalier_switch_stack(&from.context_.stack_pointer, to.context_.stack_pointer);
#else
  swapcontext(&from.context_.registers, &to.context_.registers);
#endif
  enter_stack(from.context_.sanitizer_state);
}

void Fiber::begun() {
  enter_stack(nullptr);
}

}  // namespace espalier::emulation
