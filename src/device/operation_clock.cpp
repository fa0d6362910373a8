#include "device/operation_clock.hpp"

#include <chrono>

#include "base/error.hpp"

namespace espalier::device {
namespace {

using Clock = std::chrono::steady_clock;

/// Operators are called by the main thread alone.
OperationClock* running = nullptr;
Clock::time_point since;

}  // namespace

OperationClock::OperationClock() {
  ESPALIER_ASSERT(running == nullptr, "there is an operation clock already");
  running = this;
}

OperationClock::~OperationClock() {
  running = nullptr;
}

void OperationClock::begin() {
  if (running != nullptr) since = Clock::now();
}

void OperationClock::end(const Operation& operation) {
  if (running == nullptr) return;
  const auto now = Clock::now();
  running->seconds_[operation] += std::chrono::duration<double>(now - since).count();
  since = now;
}

}  // namespace espalier::device
