#pragma once
#include <chrono>

#include "device/gpu.hpp"

namespace espalier::device {

/// Seconds that a piece of work takes where it is done: between two events of a GPU's stream, or by
/// the host's clock, which would count a GPU's launches and the wait.
class Stopwatch {
 public:
  /// A null `gpu` is the host. The GPU must outlive the watch.
  Stopwatch(Gpu* gpu, Stream stream);
  ~Stopwatch();
  Stopwatch(const Stopwatch&) = delete;
  Stopwatch& operator=(const Stopwatch&) = delete;

  void start();
  /// Since start; waits for the stream. Errors of kernels appear here.
  double stop_s();

 private:
  using Clock = std::chrono::steady_clock;
  Gpu* gpu_;
  Stream stream_;
  Event from_ = nullptr, to_ = nullptr;
  Clock::time_point since_;
};

}  // namespace espalier::device
