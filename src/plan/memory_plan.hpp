#pragma once
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "config/parameters.hpp"
#include "device/arena.hpp"
#include "device/context.hpp"
#include "model/activations.hpp"
#include "model/weights.hpp"
#include "optim/optimizer.hpp"
#include "parallel/grid.hpp"

namespace espalier::plan {

/// What the memory is for: evaluation has no gradients, no optimiser, and one block's activations.
enum class Purpose { training, evaluation };

/// Every large buffer of a rank, laid out in one arena per purpose. Made twice by the same
/// constructor: planned (no memory, only sizes) and backed with exactly the planned sizes. The
/// memory plan is therefore exact for the arenas, for any rank of any grid, on one process.
class JobMemory {
 public:
  /// Sizes only. `compute_capability` of the GPU: 100; 0 where it is not known. It matters to
  /// device.attention = "auto", whose provider on Blackwell needs more scratch.
  static JobMemory planned(const config::Parameters& parameters, const parallel::ProcessGrid& grid,
                           Purpose purpose, device::Backend backend = device::Backend::host,
                           int compute_capability = 0);
  /// Memory for this rank where `context` computes; throws Error (bad_configuration) when it cannot
  /// be had. On a GPU that is known before anything is allocated, and the message says what would
  /// fit (memory_fit.hpp).
  static JobMemory backed(const config::Parameters& parameters, const parallel::ProcessGrid& grid,
                          Purpose purpose, const device::Context& context);

  model::Architecture architecture;
  DType dtype;
  device::Arena weight_arena, gradient_arena, activation_arena, optimizer_arena;
  std::unique_ptr<model::Weights> weights;  ///< on the heap: tensors point into its table
  std::unique_ptr<model::Activations> activations;
  std::unique_ptr<optim::Optimizer> optimizer;  ///< null for evaluation

  struct Line {
    std::string name;
    std::int64_t bytes;
  };
  std::vector<Line> lines() const;  ///< used bytes per arena
  std::int64_t total_bytes() const;

 private:
  JobMemory(const config::Parameters& parameters, const parallel::ProcessGrid& grid,
            Purpose purpose, device::Backend backend, int compute_capability,
            std::vector<device::Arena> arenas);
};

/// Floats of device memory that operators of one stream of such a rank need for partial sums: what
/// its Context is made with. 0 on the host.
std::int64_t workspace_elements(const config::Parameters& parameters,
                                const parallel::ProcessGrid& grid, device::Backend backend);

/// The ranks that differ: padding of the last vocabulary shard and the remainders of the ZeRO
/// division lie at the ends of the tensor and data axes.
std::vector<int> corner_ranks(const parallel::GridShape& shape);

/// Table for the banner and --dry-run: the arenas of rank 0, and the smallest and largest total
/// over the ranks (the corners of the tensor and data axes are the ones that differ).
std::string describe_memory_plan(const config::Parameters& parameters,
                                 const parallel::GridShape& shape);

}  // namespace espalier::plan
