#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "config/field.hpp"

// How and where a job runs: time, process grid, device, memory, what it leaves behind.
// What a table's struct looks like: config/parameters.hpp.

namespace espalier::config {

struct RunParameters {
  std::string name = "";
  std::string time_limit = "";
  double time_margin = 15.0;
  std::int64_t stop_after = 0;
  double hang_timeout = 1800.0;
  std::string on_spike = "stop";
  double spike_threshold = 0.0;
  std::int64_t spike_window = 128;
  std::int64_t max_spikes = 3;
  std::int64_t audit_interval = 0;

  template <class Self, class Visit>
  static void describe(Self& p, Visit&& visit) {
    visit(Field{.name = "name", .meaning = "name of the run in banners and logs"}, p.name);
    visit(Field{.name = "time_limit",
                .meaning = "wall time as seconds or [D-]HH:MM:SS; the run stops before it with a "
                           "checkpoint and status 75; empty: the Slurm job's end, or no limit"},
          p.time_limit);
    visit(Field{.name = "time_margin",
                .unit = "s",
                .meaning = "time kept free before time_limit beside what the last step, validation "
                           "and checkpoint take, as measured",
                .min = 0},
          p.time_margin);
    visit(
        Field{.name = "stop_after",
              .unit = "steps",
              .meaning = "steps of this job, which then ends with a checkpoint and status 75; the "
                         "schedule stays that of the whole run. 0: no such limit",
              .min = 0},
        p.stop_after);
    visit(Field{.name = "hang_timeout",
                .unit = "s",
                .meaning = "a rank that does nothing new for so long is named, with its host and "
                           "what it was doing, and the job ends; longer than the longest step or "
                           "file operation. 0: no watchdog",
                .min = 0},
          p.hang_timeout);
    visit(Field{.name = "on_spike",
                .meaning = "when loss or gradient is not finite, or stands out as spike_threshold "
                           "says: stop with status 79; skip the update of that step; or roll back "
                           "to the last checkpoint and leave out the data since then",
                .choices = {"stop", "skip", "rollback"}},
          p.on_spike);
    visit(Field{.name = "spike_threshold",
                .unit = "standard deviations",
                .meaning = "a loss or gradient norm so far above the mean of the last spike_window "
                           "steps is a spike; 0: only what is not finite",
                .min = 0},
          p.spike_threshold);
    visit(Field{.name = "spike_window",
                .unit = "steps",
                .meaning = "steps that spike_threshold compares with; none is a spike before half "
                           "of them are there",
                .min = 8,
                .max = 1 << 20},
          p.spike_window);
    visit(Field{.name = "max_spikes",
                .meaning = "skips and rollbacks between two checkpoints without any; one more ends "
                           "the run with status 79",
                .min = 1},
          p.max_spikes);
    visit(Field{.name = "audit_interval",
                .unit = "steps",
                .meaning = "steps between audits: weights that several ranks hold must be equal in "
                           "every bit, and be what their owner's fp32 weights round to. 0: none",
                .min = 0},
          p.audit_interval);
  }
};

struct ParallelParameters {
  std::int64_t tensor = 1;
  std::int64_t context = 1;
  std::int64_t context_kv_heads = 0;
  std::int64_t data = 0;
  std::int64_t pipeline = 1;
  std::int64_t expert = 1;
  std::string schedule = "1f1b";
  std::int64_t chunks = 0;
  std::vector<std::int64_t> stage_layers = {};
  bool sequence_parallel = true;
  std::int64_t zero_stage = 1;
  bool overlap_data = true;
  bool overlap_tensor = false;

  template <class Self, class Visit>
  static void describe(Self& p, Visit&& visit) {
    visit(Field{.name = "tensor",
                .unit = "ranks",
                .meaning = "tensor-parallel size",
                .min = 1,
                .max = 65536},
          p.tensor);
    visit(Field{.name = "context",
                .unit = "ranks",
                .meaning = "context-parallel size: so many ranks share the tokens of each sequence "
                           "and gather its keys and values; divides training.sequence_length. eval "
                           "and generate take these ranks for data",
                .min = 1,
                .max = 65536},
          p.context);
    visit(Field{.name = "context_kv_heads",
                .unit = "heads",
                .meaning =
                    "key and value heads of a rank that are gathered over the context group "
                    "at a time, at most; fewer take less memory. 0: as many as fit in 1 GiB, on a "
                    "GPU a quarter at most",
                .min = 0},
          p.context_kv_heads);
    visit(Field{.name = "data",
                .unit = "ranks",
                .meaning = "data-parallel size; 0: the ranks left over",
                .min = 0,
                .max = 1 << 20},
          p.data);
    visit(
        Field{.name = "pipeline",
              .unit = "ranks",
              .meaning = "pipeline-parallel size: so many groups of ranks have different blocks of "
                         "the model, and no result depends on it. eval and generate have all of "
                         "the model on each rank, and take these ranks for data",
              .min = 1,
              .max = 4096},
        p.pipeline);
    visit(Field{.name = "expert",
                .unit = "ranks",
                .meaning = "expert-parallel size: so many consecutive ranks of a stage share the "
                           "experts of a block; divides tensor x context x data and num_experts",
                .min = 1,
                .max = 65536},
          p.expert);
    visit(Field{.name = "schedule",
                .meaning = "order of forward and backward passes in a pipeline (espalier plan "
                           "schedule draws them)",
                .choices = {"gpipe", "1f1b", "interleaved", "zb-h1", "zb1p", "zb-v", "dualpipe-v"}},
          p.schedule);
    visit(Field{.name = "chunks",
                .meaning = "pieces of the model on each rank of a pipeline; 0: 1, or 2 where "
                           "the schedule needs chunks",
                .min = 0,
                .max = 1024},
          p.chunks);
    visit(Field{.name = "stage_layers",
                .unit = "blocks",
                .meaning = "of each stage of a pipeline, in the order of the model, 0 allowed; "
                           "empty: evenly by cost, embedding and LM head counted",
                .min = 0,
                .max = 10000},
          p.stage_layers);
    visit(Field{.name = "sequence_parallel",
                .meaning = "split tokens over the tensor group between blocks"},
          p.sequence_parallel);
    visit(Field{.name = "zero_stage",
                .meaning = "0: optimizer state everywhere; 1: divided over the ranks that "
                           "sum a gradient: the data group, for norms with sequence parallelism "
                           "the tensor group, too",
                .min = 0,
                .max = 1},
          p.zero_stage);
    visit(Field{.name = "overlap_data",
                .meaning = "on a GPU: reduce gradients and gather weights beside the computation"},
          p.overlap_data);
    visit(Field{.name = "overlap_tensor",
                .meaning = "cut the tensor group's collectives into pieces that travel beside the "
                           "matrix products; for GPUs, the host gains nothing. Off until measured"},
          p.overlap_tensor);
  }
};

struct DeviceParameters {
  std::string backend = "auto";
  std::string simd = "auto";
  bool share_gpus = false;
  std::string communicator = "auto";
  std::string attention = "auto";
  bool tune_gemm = true;
  bool graphs = false;
  double memory_gib = 0.0;
  std::int64_t compute_capability = 0;

  template <class Self, class Visit>
  static void describe(Self& p, Visit&& visit) {
    visit(Field{.name = "backend",
                .meaning = "who computes; auto: cuda where every rank has a GPU of its own that "
                           "the program has code for, else host. emulated runs the CUDA kernels on "
                           "the host, slowly, to test them",
                .choices = {"auto", "host", "cuda", "emulated"}},
          p.backend);
    visit(Field{.name = "simd",
                .meaning = "instructions of the host operators and, at most, of the library of "
                           "matrix products; auto: the best that every rank's processor has. A "
                           "run is the same bit for bit only at one level",
                .choices = {"auto", "avx512_bf16", "avx512", "avx2", "portable"}},
          p.simd);
    visit(Field{.name = "share_gpus", .meaning = "allow more ranks on a node than it has GPUs"},
          p.share_gpus);
    visit(Field{.name = "communicator",
                .meaning = "collectives of GPU memory; auto: nccl with a GPU per rank, else mpi, "
                           "through host memory",
                .choices = {"auto", "nccl", "mpi"}},
          p.communicator);
    visit(Field{.name = "attention",
                .meaning = "attention kernels on a GPU; auto: the fastest that fits. cudnn is for "
                           "training on a B200, without data.document_mask",
                .choices = {"auto", "reference", "mma", "wgmma", "cudnn"}},
          p.attention);
    visit(Field{.name = "tune_gemm",
                .meaning = "before the first step, time the library's algorithms for each matrix "
                           "product that is new to this GPU model; off: take its first suggestion"},
          p.tune_gemm);
    visit(Field{.name = "graphs",
                .meaning = "replay the kernels of each block as a CUDA graph; only with "
                           "parallel.tensor = 1 and memory.recompute = \"none\". Off until it is "
                           "measured to pay"},
          p.graphs);
    visit(Field{.name = "memory_gib",
                .unit = "GiB",
                .meaning = "memory that a rank may take, which the plan must fit into; 0: what the "
                           "GPU has free. For --dry-run where the GPU is not, to leave some to "
                           "others, or for memory.recompute = \"budget\" on the host",
                .min = 0},
          p.memory_gib);
    visit(
        Field{.name = "compute_capability",
              .meaning = "of the GPU that --dry-run plans for where it is not: 80 A100, 86 A6000, "
                         "89 L40, 90 H100, 100 B200, 103 B300; 0: of the GPU that is there",
              .min = 0},
        p.compute_capability);
  }
};

struct MemoryParameters {
  std::string recompute = "none";
  std::vector<std::int64_t> recompute_blocks = {};

  template <class Self, class Visit>
  static void describe(Self& p, Visit&& visit) {
    visit(Field{.name = "recompute",
                .meaning = "activations that the backward pass computes again instead of keeping "
                           "them; selective: results of norms and RoPE; mlp: also of the "
                           "MLP's first projection; full: everything between the inputs of "
                           "blocks; budget: for each block one of these, so that the run fits into "
                           "device.memory_gib, or what the GPU has free, at the least cost. Losses "
                           "do not change",
                .choices = {"none", "selective", "mlp", "full", "budget"}},
          p.recompute);
    visit(Field{.name = "recompute_blocks",
                .unit = "blocks",
                .meaning = "with recompute = \"budget\": how many blocks take none, selective, mlp "
                           "and full, in place of the choice by memory; empty: that choice"},
          p.recompute_blocks);
  }
};

struct CheckpointParameters {
  std::int64_t interval = 0;
  double interval_minutes = 0.0;
  std::int64_t keep = 2;
  std::int64_t keep_every = 0;
  double keep_hours = 0.0;
  bool at_end = true;
  std::string layout = "ranks";
  std::int64_t stripe_count = 0;
  bool direct_io = true;
  std::string staging = "copy";
  std::vector<std::string> allow_changes;

  template <class Self, class Visit>
  static void describe(Self& p, Visit&& visit) {
    visit(Field{.name = "interval",
                .unit = "steps",
                .meaning = "steps between checkpoints; 0: none",
                .min = 0},
          p.interval);
    visit(Field{.name = "interval_minutes",
                .unit = "min",
                .meaning = "time between checkpoints, beside `interval`; 0: none",
                .min = 0},
          p.interval_minutes);
    visit(Field{.name = "keep", .meaning = "newest checkpoints kept", .min = 1}, p.keep);
    visit(Field{.name = "keep_every",
                .unit = "steps",
                .meaning = "checkpoints of these steps are kept for good; 0: none",
                .min = 0},
          p.keep_every);
    visit(Field{.name = "keep_hours",
                .unit = "h",
                .meaning = "of every so many hours the first checkpoint is kept for good; 0: none",
                .min = 0},
          p.keep_hours);
    visit(Field{.name = "at_end", .meaning = "write a checkpoint after the last step"}, p.at_end);
    visit(Field{.name = "layout",
                .meaning = "ranks: a file for each rank, and master.h5 that shows them as one; "
                           "shared: one HDF5 file that all ranks write",
                .choices = {"ranks", "shared"}},
          p.layout);
    visit(Field{.name = "stripe_count",
                .meaning = "storage targets that a file of a checkpoint is spread over, on a file "
                           "system that stripes files (Lustre); 0: as the folder says, -1: all",
                .min = -1,
                .max = 2000},
          p.stripe_count);
    visit(Field{.name = "direct_io",
                .meaning = "writes checkpoints past the page cache (O_DIRECT) where the file "
                           "system can: no memory has to be found for them, and what is cached of "
                           "the data stays"},
          p.direct_io);
    visit(Field{.name = "staging",
                .meaning =
                    "what an update would meet before it is written: copy, ahead of the update "
                    "where there is time; or wait until it is written",
                .choices = {"copy", "wait"}},
          p.staging);
    visit(Field{.name = "allow_changes",
                .meaning =
                    "keys, as \"model.rope_theta\" or \"training.dtype\", that may differ from "
                    "those of the weights that are continued, started from or converted, "
                    "although these then make another function"},
          p.allow_changes);
  }
};

struct OutputParameters {
  std::string directory = "runs/default";
  bool tensorboard = false;
  bool rank_logs = false;

  template <class Self, class Visit>
  static void describe(Self& p, Visit&& visit) {
    visit(Field{.name = "directory",
                .meaning = "run directory: history.csv, run.log and checkpoints/; an existing "
                           "complete checkpoint in it is continued",
                .is_path = true},
          p.directory);
    visit(Field{.name = "tensorboard",
                .meaning = "event files for TensorBoard in <directory>/tensorboard; history.csv "
                           "stays the source"},
          p.tensorboard);
    visit(Field{.name = "rank_logs",
                .meaning = "a file for each rank in <directory>/logs with all that this rank says; "
                           "otherwise run.log has a line per event with the ranks it concerns"},
          p.rank_logs);
  }
};

}  // namespace espalier::config
