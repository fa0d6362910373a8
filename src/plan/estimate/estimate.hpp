#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "config/parameters.hpp"
#include "plan/time/step_time.hpp"

namespace espalier::plan {

/// What a run will need and do on one kind of device.
struct Estimate {
  std::int64_t ranks = 1;
  std::int64_t memory_bytes = 0;   ///< of the rank that needs most, libraries among them
  std::int64_t library_bytes = 0;  ///< of those, what CUDA and NCCL take
  bool fits = false;               ///< in hardware.memory_gib; 0 there: anything does
  StepTime time;
  double input = 0.0;                       ///< seconds of a step in which its samples are read
  double checkpoint_seconds = 0.0;          ///< that one save stalls the run
  double checkpoint_interval = 0.0;         ///< seconds between saves; 0: none
  double checkpoint_share = 0.0;            ///< of the run's time that saving stalls it
  double tokens_per_second = 0.0;           ///< of all ranks, checkpoints among them
  double mfu_causal = 0.0, mfu_full = 0.0;  ///< of the data sheet's dense peak
  double hours = 0.0;                       ///< for training.steps, checkpoints among them
  double device_hours() const { return hours * static_cast<double>(ranks); }
  /// Seconds of a step with what reading its samples and its share of a save add.
  double step() const { return (time.step() + input) / (1.0 - checkpoint_share); }
};
/// Of resolved parameters, on the grid that they name.
///
/// Memory is TrainingMemory::planned of the rank that needs most, and library_bytes. Time is
/// predict_step, and beside it
///   input       4 bytes a token, copied by the host from its cache of the file system at 2 GB/s (a
///               guess); a cold file system is not modelled
///   checkpoint  every checkpoint.interval steps, else every plan.checkpoint_minutes. A save writes
///               12 bytes per parameter, divided over the ranks, at hardware.storage_gbs per node
///               (0: not known, nothing is written in time), beside the next step; what that step's
///               update finds unwritten is first copied to the host, by GPUs at 8 GB/s each (a
///               guess: through 16 MiB of pinned memory), or with checkpoint.staging = "wait"
/// waited
///               for. A save that is not over when the next one begins holds that up, too.
/// Where the data sheet's peak is not known, MFU is a share of the best measured product, and 0
/// without that.
Estimate estimate(const config::Parameters& parameters, const config::HardwareParameters& hardware);

/// A part of Estimate::step().
struct StepPart {
  std::string key;   ///< for programs: "tensor_exposed"
  std::string name;  ///< for people: "tensor communication"
  double seconds;
};
/// What the seconds of a step go to. They add up to Estimate::step().
std::vector<StepPart> step_parts(const Estimate& estimate);

/// A legal way to lay a run on `ranks` devices.
struct Layout {
  config::Parameters parameters;  ///< resolved: grid, micro-batch, recompute, ZeRO
  Estimate estimate;              ///< without its times where it does not fit
};
/// Whether plans choose the schedule of a pipeline: plan.schedule = "all", and [parallel] says
/// nothing of it (1f1b, which is what it has then, is nothing).
bool leaves_schedule_open(const config::Parameters& parameters);
/// Every legal layout of the run (tensor x data x pipeline, long sequences and experts over ranks,
/// micro-batch, recompute, ZeRO stage) on that many devices: those that fit first, the fastest
/// first and of equals the smaller one, then the others, the smallest first. The keys that a layout
/// decides (parallel.tensor, context, data, pipeline, expert, stage_layers, zero_stage and
/// sequence_parallel, training.micro_batch_size, memory.recompute) are not asked of the input; a
/// pipeline has no fewer micro-batches than ranks, and context sizes are those of
/// context_sizes.hpp. Where leaves_schedule_open, each has the fastest schedule of those that fit:
/// 1f1b, zb-h1, zb-v, dualpipe-v, and interleaved and zb1p with 2 and 4 chunks or those of
/// plan.chunks; else it has plan.schedule and chunks or those of [parallel], where these are legal,
/// else 1f1b.
/// Sequence parallelism is on wherever it is legal, and ZeRO is stage 1 where there is one data
/// rank, a pipeline, or sequences or experts over ranks. What is legal, config::resolve says.
/// Throws Error (bad_configuration) where the input is wrong whatever the layout, and where the
/// ranks have none, with numbers of ranks near that have.
std::vector<Layout> layouts(const config::Parameters& parameters,
                            const config::HardwareParameters& hardware, std::int64_t ranks);
/// The first of them; throws Error (bad_configuration) with the nearest miss and what would help
/// where none fits.
Layout best_layout(const config::Parameters& parameters, const config::HardwareParameters& hardware,
                   std::int64_t ranks);
/// What best_layout throws, where `all` of the ranks do not fit.
std::string why_none_fits(const config::Parameters& parameters,
                          const config::HardwareParameters& hardware,
                          const std::vector<Layout>& all);

/// "tensor 2 x data 32, micro-batch 4, recompute none, ZeRO-1"
std::string describe_layout(const config::Parameters& parameters);
/// "2 x 32": tensor and data ranks; "2 x 8 x 4" with a pipeline of four ranks; "2 x 8, c 4" with
/// sequences divided over four, "2 x 32, e 8" with experts divided over eight.
std::string short_grid(const config::Parameters& parameters);
/// What stands in a table's column of layouts: short_grid, micro-batch, recompute.
std::string layout_legend(bool has_context);
/// Why a layout comes behind another one, in a few words: the parts of a step that take longer, in
/// per cent of the whole step of `best`, "tensor communication +12.0 %"; what it recomputes, and
/// how many more micro-batches it takes, in front of them. Empty: it takes no longer.
std::string why_slower(const Layout& best, const Layout& other);

/// Loss by [loss_law] of the run's model after its tokens, in nats per token.
double expected_loss(const config::Parameters& parameters);

}  // namespace espalier::plan
