#pragma once
#include <map>

#include "device/profiler.hpp"

namespace espalier::device {

/// The wall time of every operation of this process while it lives; one at a time. On the host,
/// where an operation is over when it returns; without a clock nothing is measured.
class OperationClock {
 public:
  OperationClock();
  ~OperationClock();
  OperationClock(const OperationClock&) = delete;
  OperationClock& operator=(const OperationClock&) = delete;

  /// Seconds of all calls of each operation so far.
  const std::map<Operation, double>& seconds() const { return seconds_; }

  /// What operators tell, whether or not there is a clock: an operation begins; it ends and is
  /// called so. One that tells its costs in parts has taken its time with the first.
  static void begin();
  static void end(const Operation& operation);

 private:
  std::map<Operation, double> seconds_;
};

}  // namespace espalier::device
