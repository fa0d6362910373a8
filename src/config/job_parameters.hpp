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
  double time_margin = 60.0;
  std::int64_t stop_after = 0;

  template <class Self, class Visit>
  static void describe(Self& p, Visit&& visit) {
    visit(Field{.name = "name", .meaning = "name of the run in banners and logs"}, p.name);
    visit(Field{.name = "time_limit",
                .meaning = "wall time as seconds or [D-]HH:MM:SS; the run stops before it with a "
                           "checkpoint and status 75; empty: the Slurm job's end, or no limit"},
          p.time_limit);
    visit(Field{.name = "time_margin",
                .unit = "s",
                .meaning = "time kept free before time_limit for the last checkpoint",
                .min = 0},
          p.time_margin);
    visit(
        Field{.name = "stop_after",
              .unit = "steps",
              .meaning = "steps of this job, which then ends with a checkpoint and status 75; the "
                         "schedule stays that of the whole run. 0: no such limit",
              .min = 0},
        p.stop_after);
  }
};

struct ParallelParameters {
  std::int64_t tensor = 1;
  std::int64_t context = 1;
  std::int64_t data = 0;
  std::int64_t pipeline = 1;
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
                .meaning = "context-parallel size (only 1 so far)",
                .min = 1,
                .max = 1},
          p.context);
    visit(Field{.name = "data",
                .unit = "ranks",
                .meaning = "data-parallel size; 0: the ranks left over",
                .min = 0,
                .max = 1 << 20},
          p.data);
    visit(Field{.name = "pipeline",
                .unit = "ranks",
                .meaning = "pipeline-parallel size (only 1 so far)",
                .min = 1,
                .max = 1},
          p.pipeline);
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
  std::int64_t keep = 2;
  std::int64_t keep_every = 0;
  bool at_end = true;
  std::string staging = "copy";
  std::vector<std::string> allow_changes;

  template <class Self, class Visit>
  static void describe(Self& p, Visit&& visit) {
    visit(Field{.name = "interval",
                .unit = "steps",
                .meaning = "steps between checkpoints; 0: none",
                .min = 0},
          p.interval);
    visit(Field{.name = "keep", .meaning = "newest checkpoints kept", .min = 1}, p.keep);
    visit(Field{.name = "keep_every",
                .unit = "steps",
                .meaning = "checkpoints of these steps are kept for good; 0: none",
                .min = 0},
          p.keep_every);
    visit(Field{.name = "at_end", .meaning = "write a checkpoint after the last step"}, p.at_end);
    visit(
        Field{.name = "staging",
              .meaning = "an update that meets a piece not yet written: copies it first, or waits",
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

  template <class Self, class Visit>
  static void describe(Self& p, Visit&& visit) {
    visit(Field{.name = "directory",
                .meaning = "run directory: history.csv, run.log and checkpoints/; an existing "
                           "complete checkpoint in it is continued",
                .is_path = true},
          p.directory);
  }
};

}  // namespace espalier::config
