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
#include "optim/adamw.hpp"
#include "optim/expert_bias.hpp"
#include "optim/gradient_norm.hpp"
#include "parallel/layout/grid.hpp"
#include "train/step/step.hpp"

namespace espalier::plan {

/// Pinned host memory through which a save fetches the optimizer's state from a GPU.
constexpr std::int64_t kCheckpointPinnedBytes = std::int64_t{16} << 20;

/// What resolved parameters say of activations, but for what the place in a pipeline decides:
/// slots, stages and messages.
model::ActivationShape activation_shape(const config::Parameters& parameters,
                                        const parallel::GridShape& shape, device::Backend backend,
                                        int compute_capability);

/// Every large buffer of a rank that trains, laid out in one arena for each kind. Made twice by the
/// same constructor: planned (no memory, only sizes) and backed with exactly the planned sizes. The
/// memory plan is therefore exact for the arenas, for any rank of any grid, on one process. On a
/// GPU the workspaces of its Context are part of the plan: it is all that Gpu::allocate gives.
class TrainingMemory {
 public:
  /// Sizes only. `compute_capability` of the GPU: 100; 0 where it is not known. It matters to
  /// device.attention = "auto", whose providers on Blackwell, and on Hopper
  /// with head_dim 128, need more scratch.
  static TrainingMemory planned(const config::Parameters& parameters,
                                const parallel::ProcessGrid& grid,
                                device::Backend backend = device::Backend::host,
                                int compute_capability = 0);
  /// Memory for this rank where `context` computes; throws Error (bad_configuration) when it cannot
  /// be had. On a GPU that is known before anything is allocated, and the message says what would
  /// fit (memory_fit.hpp). The activations, which the collectives of the tensor group carry, come
  /// from `activation_source` where it gives them (parallel::registered_memory).
  static TrainingMemory backed(const config::Parameters& parameters,
                               const parallel::ProcessGrid& grid, const device::Context& context,
                               device::MemorySource activation_source = {});

  model::Architecture architecture;
  DType dtype;
  device::Arena weight_arena, gradient_arena, activation_arena, optimizer_arena;
  model::StageAssignment assignment;        ///< of the blocks to the ranks of a pipeline
  pipeline::RankProgram program;            ///< what this rank does in a training step
  std::unique_ptr<model::Weights> weights;  ///< on the heap: tensors point into its table
  std::unique_ptr<model::Activations> activations;
  std::unique_ptr<parallel::ParameterStore> parameter_store;
  std::unique_ptr<optim::AdamW> optimizer;
  std::unique_ptr<optim::GradientNorm> gradient_norm;
  std::unique_ptr<optim::ExpertBias> expert_bias;  ///< null without (experts.balance = "bias")

  struct Line {
    std::string name;
    std::int64_t bytes;
  };
  /// Used bytes per arena; on a GPU also the workspaces of kernels and of matrix products, which
  /// the Context has taken before.
  std::vector<Line> lines() const;
  std::vector<Line> workspace_lines() const;  ///< the latter alone
  std::int64_t total_bytes() const;
  /// What of the total the Context takes; 0 on the host.
  std::int64_t context_bytes() const { return kernel_workspace_bytes_ + gemm_workspace_bytes_; }
  /// Pinned host memory beside it, 0 on the host: for copies, for saves, and, where collectives
  /// pass through host memory (device.communicator = "mpi", the emulated GPU), at most the largest
  /// collective of each group of ranks.
  std::int64_t pinned_bytes() const { return pinned_bytes_; }

 private:
  TrainingMemory(const config::Parameters& parameters, const parallel::ProcessGrid& grid,
                 device::Backend backend, int compute_capability,
                 std::vector<device::Arena> arenas);
  std::vector<const device::Arena*> arenas() const;
  std::int64_t largest_collectives(const config::Parameters& parameters,
                                   const parallel::ProcessGrid& grid) const;

  std::int64_t kernel_workspace_bytes_ = 0, gemm_workspace_bytes_ = 0, pinned_bytes_ = 0;
};

/// What a training step takes, with this memory. All of it must outlive the result. `link`: to the
/// neighbours in a pipeline; null without one.
train::StepModel step_model(device::Context& context, const parallel::ProcessGrid& grid,
                            parallel::GridCommunicators& communicators, model::RankStages& stages,
                            TrainingMemory& memory, parallel::PipelineLink* link = nullptr);

/// Floats of device memory that operators of one stream of such a rank need for partial sums: what
/// its Context is made with. 0 on the host.
std::int64_t workspace_elements(const config::Parameters& parameters,
                                const parallel::ProcessGrid& grid, device::Backend backend);

/// device.compute_capability, or that of the GPU that is here; 0: not known.
int planned_capability(const config::DeviceParameters& parameters, device::Backend backend);

/// Throws Error (bad_configuration, met by every rank) where ranks that share sequences would have
/// blocks of them that a GPU's attention does not take (kernels::kGpuBlockLength).
void require_blocks_of_gpu(const config::Parameters& parameters, device::Backend backend);

/// Table for the banner and --dry-run: the memory of rank 0, and the smallest and largest total
/// over the ranks (those at the ends of the axes are the ones that differ). It needs no
/// GPU to plan for one; where there is one, its architecture says what attention takes.
std::string describe_memory_plan(const config::Parameters& parameters,
                                 const parallel::GridShape& shape, device::Backend backend);

}  // namespace espalier::plan
