#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "device/gemm.hpp"
#include "device/profiler.hpp"

namespace espalier::device {

/// Where operators run and what they need for it: the GEMM engine and the profiler. One per rank,
/// passed explicitly to every operator. The host back-end is synchronous: when an operator returns,
/// its result is in memory.
class Context {
 public:
  Gemm& gemm() { return gemm_; }
  Profiler& profiler() { return profiler_; }

  /// Rate of a square matrix product of `dtype` on this rank's threads, FLOP/s: the peak that MFU
  /// is measured against. Takes about `seconds`; every rank of a node should measure at the same
  /// time.
  double measure_gemm_peak(DType dtype, double seconds = 0.5);
  /// "host, 2 threads, oneDNN 2.6.3 avx512_core_bf16"
  std::string describe() const;
  /// Memory for an operator's partial results, valid until the next call; it grows to the largest
  /// request and stays. Not zeroed.
  float* workspace(std::int64_t elements);

 private:
  Gemm gemm_;
  Profiler profiler_;
  std::vector<float> workspace_;
};

}  // namespace espalier::device
