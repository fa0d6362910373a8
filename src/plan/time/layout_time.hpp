#pragma once
#include <cstdint>
#include <string>

#include "config/parameters.hpp"
#include "plan/time/step_time.hpp"

namespace espalier::plan {

/// A layout of a dense model on GPUs as other programs have them: context parallelism whose keys
/// pass round a ring beside attention, pipelines by formula, weights divided over the data axis
/// (FSDP), products of blocks in FP8. Ranks are numbered tensor first, then context, data,
/// pipeline. Runs of this program are counted and timed as they are (step_time.hpp).
struct StepLayout {
  std::int64_t tensor = 1, context = 1, data = 1, pipeline = 1;
  std::int64_t virtual_stages = 1;  ///< chunks of blocks of a pipeline rank
  std::int64_t shard = 0;  ///< data ranks that divide weights and states; 0: all. Fewer: HSDP
  std::int64_t zero_stage = 1;
  bool reshard = true;  ///< stage 3: weights are gathered once more for the backward pass
  std::int64_t gradient_bytes = 4;  ///< of a gradient that is summed over ranks
  /// memory.recompute, or "half": what is between the products and every second product of the
  /// forward pass (torchtitan's selective "op")
  std::string recompute = "none";
  bool fp8 = false;  ///< products of the blocks; the LM head and attention stay as they are
  bool overlap_tensor = false;
  bool overlap_data = true;
  std::int64_t ranks() const { return tensor * context * data * pipeline; }
};

/// The time of a step of that layout: the counted blocks and head of one tensor rank
/// (counted_step.hpp), scaled.
///   blocks      a pipeline rank has L/p of them, the last one the head, too; where L is no
/// multiple
///               of p, embedding and head each count as a block
///   context     a rank has S/c positions, attention c times the S/c square; keys and values go
///               round once forward and twice backward, beside attention
///   pipeline    micro-batches of the slowest rank and a bubble of (p-1)/v of them (1F1B,
///               interleaved); messages between stages are exposed once per warm-up
///   weights     stage 3: gathered twice, once without reshard, and gradients summed for every
///               micro-batch, all beside the computation of one block
///   FP8         products at product_fp8_tflops; each operand is read twice and written twice in
///               one byte (maximum, cast and transposed cast)
/// [model], training.sequence_length, micro_batch_size, global_batch_size, dtype and
/// parallel.sequence_parallel come from `parameters`, which need not be resolved but for the model.
/// Throws Error (bad_configuration) for a layout that divides nothing evenly.
StepTime layout_time(const config::Parameters& parameters, const StepLayout& layout,
                     const config::HardwareParameters& hardware);

}  // namespace espalier::plan
