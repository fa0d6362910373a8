#pragma once
#include <cstddef>
#include <memory>

#include "emulation/fiber_context.hpp"

namespace espalier::emulation {

/// A thread of execution with a stack of its own that runs until it hands over to another. All
/// fibers share one thread of the operating system: nothing is ever concurrent, and the order is
/// ours to choose.
class Fiber {
 public:
  /// The one that is running already, on the stack of the operating system.
  Fiber();
  /// One that begins with entry(), which must never return.
  Fiber(std::size_t stack_bytes, void (*entry)());
  Fiber(Fiber&&) = default;
  Fiber& operator=(Fiber&&) = default;

  /// `from`, which is running, rests; `to` goes on where it rested or begins.
  static void hand_over(Fiber& from, Fiber& to);
  /// The first statement of an entry function.
  static void begun();

 private:
  std::unique_ptr<std::byte[]> stack_;
  StackBounds bounds_;
  FiberContext context_;
};

}  // namespace espalier::emulation
