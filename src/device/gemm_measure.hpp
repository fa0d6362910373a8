#pragma once
#include <functional>
#include <optional>

#include "device/gemm_problem.hpp"
#include "device/gpu.hpp"

namespace espalier::device {

/// Where the matrices of a product lie, in device memory.
struct GemmData {
  const void *a, *b;
  void* c;
  const void* bias;  ///< null when the problem has none
};

/// The fastest of `num_algorithms` for a problem on this GPU, by its number; of equals the first
/// (choose_fastest). They are measured in memory of their own, of random numbers, which is given
/// back: as many sets of operands as are needed to overflow the GPU's cache. Nothing when none ran.
///
/// `run` puts the product by algorithm i into `stream`; false: the algorithm refuses. Takes about
/// 6 ms for each algorithm and waits for the stream. Throws Error (bad_configuration) when there is
/// no memory for it: one set must fit into half of what is free.
std::optional<int> fastest_gemm(Gpu& gpu, Stream stream, const GemmProblem& problem,
                                int num_algorithms,
                                const std::function<bool(int i, const GemmData&)>& run);

}  // namespace espalier::device
