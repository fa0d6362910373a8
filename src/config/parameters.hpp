#pragma once
#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "config/field.hpp"
#include "config/struct_list.hpp"

// One struct per TOML table. Each member is declared once here with its default, and described once
// in the static `describe`, which hands (Field, member) to a visitor. `Self` is the struct, const
// or not. Names: Hugging Face's for the model, Megatron's for parallelism, torch's for the
// optimiser.

namespace espalier::config {

struct RunParameters {
  std::string name = "";
  std::string time_limit = "";
  double time_margin = 60.0;

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
  }
};

struct ModelParameters {
  std::string file = "";
  std::string model_type = "qwen3";
  std::int64_t vocab_size = 0;
  std::int64_t hidden_size = 0;
  std::int64_t intermediate_size = 0;
  std::int64_t num_hidden_layers = 0;
  std::int64_t num_attention_heads = 0;
  std::int64_t num_key_value_heads = 0;
  std::int64_t head_dim = 0;
  bool tie_word_embeddings = false;
  double rope_theta = 1.0e6;
  std::string rope_type = "default";
  double rope_factor = 8.0;
  double rope_low_freq_factor = 1.0;
  double rope_high_freq_factor = 4.0;
  std::int64_t rope_original_max_position_embeddings = 8192;
  double rms_norm_eps = 1.0e-6;
  double initializer_range = 0.02;
  std::int64_t max_position_embeddings = 40960;
  std::string initial_weights = "";

  template <class Self, class Visit>
  static void describe(Self& p, Visit&& visit) {
    visit(Field{.name = "file",
                .meaning = "model file whose [model] table is read first; relative to this file"},
          p.file);
    visit(Field{.name = "model_type",
                .meaning = "family: decides norm, positions, MLP, biases and QK-norm "
                           "(src/model/families.hpp)",
                .choices = {"qwen3", "llama", "gpt2"}},
          p.model_type);
    visit(Field{.name = "vocab_size",
                .meaning = "rows of the embedding (V)",
                .min = 2,
                .max = 4294967294.0},
          p.vocab_size);
    visit(Field{.name = "hidden_size",
                .meaning = "width of the residual stream (H)",
                .min = 1,
                .max = 1 << 20},
          p.hidden_size);
    visit(Field{.name = "intermediate_size",
                .meaning = "width of the MLP (F)",
                .min = 1,
                .max = 1 << 22},
          p.intermediate_size);
    visit(Field{.name = "num_hidden_layers", .meaning = "blocks (L)", .min = 1, .max = 10000},
          p.num_hidden_layers);
    visit(
        Field{.name = "num_attention_heads", .meaning = "query heads (A)", .min = 1, .max = 65536},
        p.num_attention_heads);
    visit(Field{.name = "num_key_value_heads",
                .meaning = "key/value heads (K), divides A; 0: as many as query heads",
                .min = 0,
                .max = 65536},
          p.num_key_value_heads);
    visit(Field{.name = "head_dim",
                .meaning = "width of a head (D), even; A*D need not equal H; 0: H/A",
                .min = 0,
                .max = 1024},
          p.head_dim);
    visit(Field{.name = "tie_word_embeddings", .meaning = "embedding and LM head are one weight"},
          p.tie_word_embeddings);
    visit(
        Field{.name = "rope_theta", .meaning = "base of the rotary position embedding", .min = 1.0},
        p.rope_theta);
    visit(Field{.name = "rope_type",
                .meaning = "frequencies as they are, or scaled as Llama 3.1 does; the four keys "
                           "below have a meaning only then",
                .choices = {"default", "llama3"}},
          p.rope_type);
    visit(Field{.name = "rope_factor",
                .meaning = "Llama 3.1: long wavelengths are stretched by this",
                .min = 1},
          p.rope_factor);
    visit(Field{.name = "rope_low_freq_factor",
                .meaning = "Llama 3.1: wavelengths above original / this are stretched whole",
                .min = 1.0e-6},
          p.rope_low_freq_factor);
    visit(Field{.name = "rope_high_freq_factor",
                .meaning = "Llama 3.1: wavelengths below original / this stay as they are",
                .min = 1.0e-6},
          p.rope_high_freq_factor);
    visit(Field{.name = "rope_original_max_position_embeddings",
                .unit = "tokens",
                .meaning = "Llama 3.1: context length before the stretching",
                .min = 1},
          p.rope_original_max_position_embeddings);
    visit(Field{.name = "rms_norm_eps",
                .meaning = "epsilon of every RMSNorm (gpt2: of every LayerNorm)",
                .min = 0,
                .max = 1},
          p.rms_norm_eps);
    visit(Field{.name = "initializer_range",
                .meaning = "standard deviation of initial matrices",
                .min = 0,
                .max = 100},
          p.initializer_range);
    visit(Field{.name = "max_position_embeddings",
                .unit = "tokens",
                .meaning = "longest sequence the model is meant for (gpt2: rows of the learned "
                           "positions)",
                .min = 1},
          p.max_position_embeddings);
    visit(Field{.name = "initial_weights",
                .meaning = "Hugging Face folder or checkpoint whose weights a new run starts from; "
                           "empty: random from training.seed"},
          p.initial_weights);
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
                .meaning = "context-parallel size (only 1 yet)",
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
                .meaning = "pipeline-parallel size (only 1 yet)",
                .min = 1,
                .max = 1},
          p.pipeline);
    visit(Field{.name = "sequence_parallel",
                .meaning = "split tokens over the tensor group between blocks"},
          p.sequence_parallel);
    visit(Field{.name = "zero_stage",
                .meaning = "0: optimiser state everywhere; 1: divided over the data group",
                .min = 0,
                .max = 1},
          p.zero_stage);
    visit(Field{.name = "overlap_data",
                .meaning = "on a GPU: reduce gradients and gather weights beside the computation"},
          p.overlap_data);
    visit(Field{.name = "overlap_tensor",
                .meaning = "on a GPU: cut the tensor group's collectives into chunks that travel "
                           "beside the matrix products (only false yet)"},
          p.overlap_tensor);
  }
};

struct DeviceParameters {
  std::string backend = "auto";
  bool share_gpus = false;
  std::string communicator = "auto";
  std::string attention = "auto";
  bool tune_gemm = true;
  bool graphs = false;

  template <class Self, class Visit>
  static void describe(Self& p, Visit&& visit) {
    visit(Field{.name = "backend",
                .meaning = "who computes; auto: cuda where the program has it and a GPU is, else "
                           "host. emulated runs the CUDA kernels on the host, slowly, to test them",
                .choices = {"auto", "host", "cuda", "emulated"}},
          p.backend);
    visit(Field{.name = "share_gpus", .meaning = "allow more ranks on a node than it has GPUs"},
          p.share_gpus);
    visit(Field{.name = "communicator",
                .meaning = "collectives of GPU memory; auto: nccl with a GPU per rank, else mpi, "
                           "through host memory",
                .choices = {"auto", "nccl", "mpi"}},
          p.communicator);
    visit(Field{.name = "attention",
                .meaning = "attention kernels on a GPU; auto: the fastest that fits",
                .choices = {"auto", "reference", "mma", "wgmma", "cudnn"}},
          p.attention);
    visit(Field{.name = "tune_gemm",
                .meaning = "time the library's algorithms for each matrix product once per GPU "
                           "model; off: take its first suggestion"},
          p.tune_gemm);
    visit(Field{.name = "graphs",
                .meaning = "replay the kernels of each block as a CUDA graph; only with "
                           "parallel.tensor = 1 and memory.recompute = \"none\". Off until it is "
                           "measured to pay"},
          p.graphs);
  }
};

struct MemoryParameters {
  std::string recompute = "none";

  template <class Self, class Visit>
  static void describe(Self& p, Visit&& visit) {
    visit(Field{.name = "recompute",
                .meaning = "activations that the backward pass computes again instead of keeping "
                           "them; selective: results of norms and RoPE; mlp: also of the "
                           "MLP's first projection; full: everything between the inputs of "
                           "blocks. Losses do not change",
                .choices = {"none", "selective", "mlp", "full"}},
          p.recompute);
  }
};

struct TrainingParameters {
  std::int64_t sequence_length = 2048;
  std::int64_t global_batch_size = 8;
  std::int64_t micro_batch_size = 1;
  std::int64_t steps = 0;
  std::int64_t tokens = 0;
  std::string dtype = "bfloat16";
  std::int64_t seed = 1;
  std::int64_t loss_chunk_tokens = 1024;
  std::int64_t log_interval = 10;

  template <class Self, class Visit>
  static void describe(Self& p, Visit&& visit) {
    visit(Field{.name = "sequence_length",
                .unit = "tokens",
                .meaning = "tokens per sequence (S)",
                .min = 1,
                .max = 1 << 24},
          p.sequence_length);
    visit(
        Field{.name = "global_batch_size",
              .unit = "sequences",
              .meaning = "sequences per step over all ranks; a multiple of micro_batch_size * data",
              .min = 1,
              .max = 1 << 24},
        p.global_batch_size);
    visit(Field{.name = "micro_batch_size",
                .unit = "sequences",
                .meaning = "sequences a rank computes at once (B)",
                .min = 1,
                .max = 65536},
          p.micro_batch_size);
    visit(Field{.name = "steps",
                .unit = "steps",
                .meaning = "length of the run; 0: from training.tokens",
                .min = 0},
          p.steps);
    visit(Field{.name = "tokens",
                .unit = "tokens",
                .meaning = "length of the run when steps is 0: rounded up to whole steps",
                .min = 0},
          p.tokens);
    visit(Field{.name = "dtype",
                .meaning = "weights and activations; sums and optimiser are fp32",
                .choices = {"bfloat16", "float32"}},
          p.dtype);
    visit(Field{.name = "seed", .meaning = "seed of initial weights and sample order", .min = 0},
          p.seed);
    visit(Field{.name = "loss_chunk_tokens",
                .unit = "tokens",
                .meaning = "tokens whose logits exist at one time",
                .min = 1,
                .max = 1 << 24},
          p.loss_chunk_tokens);
    visit(Field{.name = "log_interval",
                .unit = "steps",
                .meaning = "steps between printed lines; history.csv has every step",
                .min = 1},
          p.log_interval);
  }
};

struct OptimizerParameters {
  double learning_rate = 3.0e-4;
  double beta1 = 0.9;
  double beta2 = 0.95;
  double eps = 1.0e-8;
  double weight_decay = 0.1;
  double max_grad_norm = 1.0;

  template <class Self, class Visit>
  static void describe(Self& p, Visit&& visit) {
    visit(Field{.name = "learning_rate", .meaning = "peak learning rate", .min = 0, .max = 100},
          p.learning_rate);
    visit(Field{.name = "beta1",
                .meaning = "AdamW decay of the first moment",
                .min = 0,
                .max = 0.999999},
          p.beta1);
    visit(Field{.name = "beta2",
                .meaning = "AdamW decay of the second moment",
                .min = 0,
                .max = 0.9999999},
          p.beta2);
    visit(Field{.name = "eps", .meaning = "AdamW epsilon", .min = 0, .max = 1}, p.eps);
    visit(Field{.name = "weight_decay",
                .meaning = "decoupled weight decay of matrices (norm weights have none)",
                .min = 0,
                .max = 100},
          p.weight_decay);
    visit(Field{.name = "max_grad_norm", .meaning = "global-norm clipping; 0: none", .min = 0},
          p.max_grad_norm);
  }
};

struct ScheduleParameters {
  std::string name = "cosine";
  std::int64_t warmup_steps = 0;
  std::int64_t decay_steps = 0;
  double min_learning_rate = 0.0;

  template <class Self, class Visit>
  static void describe(Self& p, Visit&& visit) {
    visit(Field{.name = "name",
                .meaning = "shape after the linear warm-up",
                .choices = {"cosine", "linear", "warmup_stable_decay", "constant"}},
          p.name);
    visit(Field{.name = "warmup_steps", .unit = "steps", .meaning = "linear warm-up", .min = 0},
          p.warmup_steps);
    visit(Field{.name = "decay_steps",
                .unit = "steps",
                .meaning = "length of the decay of warmup_stable_decay",
                .min = 0},
          p.decay_steps);
    visit(Field{.name = "min_learning_rate", .meaning = "learning rate at the end", .min = 0},
          p.min_learning_rate);
  }
};

/// A set of token shards in a mixture.
struct DataSource {
  std::string train = "";
  double weight = 1.0;
  std::string name = "";

  template <class Self, class Visit>
  static void describe(Self& p, Visit&& visit) {
    visit(Field{.name = "train", .meaning = "its token shards, named as in data.train"}, p.train);
    visit(Field{.name = "weight",
                .meaning = "share of the samples, above 0, in any unit",
                .min = 0,
                .max = 1.0e12},
          p.weight);
    visit(Field{.name = "name", .meaning = "what the log calls it; empty: as train"}, p.name);
  }
};

struct DataParameters {
  std::string train = "";
  std::vector<DataSource> sources;
  std::string validation = "";
  std::string tokenizer = "";
  std::string order = "shuffled";
  std::string end_of_data = "repeat";
  bool document_mask = false;
  bool predict_across_documents = true;
  bool verify_checksum = true;

  template <class Self, class Visit>
  static void describe(Self& p, Visit&& visit) {
    visit(Field{.name = "train",
                .meaning = "token shards: a file, or a folder with train-*.h5 (sorted by name)"},
          p.train);
    visit(Field{.name = "sources",
                .meaning = "in place of train, shard sets mixed by weight: a [[data.sources]] "
                           "with the keys below for each"},
          p.sources);
    visit(Field{.name = "validation",
                .meaning = "token shards for validation: a file, or a folder with "
                           "validation-*.h5; empty: none"},
          p.validation);
    visit(Field{.name = "tokenizer",
                .meaning = "tokenizer.json or .tiktoken file; must be the one of the shards"},
          p.tokenizer);
    visit(Field{.name = "order",
                .meaning = "order of the samples in an epoch",
                .choices = {"shuffled", "sequential"}},
          p.order);
    visit(Field{.name = "end_of_data",
                .meaning = "when all samples were seen: repeat them in another order, or stop the "
                           "run as finished",
                .choices = {"repeat", "stop"}},
          p.end_of_data);
    visit(Field{.name = "document_mask",
                .meaning = "attention stays inside a document (its text and the separator behind "
                           "it), whose first token in the sample has position 0"},
          p.document_mask);
    visit(Field{.name = "predict_across_documents",
                .meaning = "false: the first token of a document is nobody's target"},
          p.predict_across_documents);
    visit(Field{.name = "verify_checksum", .meaning = "read every shard once at start and compare"},
          p.verify_checksum);
  }
};

struct ValidationParameters {
  std::int64_t interval = 0;
  std::int64_t sequences = 0;
  bool at_end = true;

  template <class Self, class Visit>
  static void describe(Self& p, Visit&& visit) {
    visit(Field{.name = "interval",
                .unit = "steps",
                .meaning = "steps between validations; 0: none",
                .min = 0},
          p.interval);
    visit(Field{.name = "sequences",
                .unit = "sequences",
                .meaning = "sequences per validation; 0: the whole set",
                .min = 0},
          p.sequences);
    visit(Field{.name = "at_end", .meaning = "validate after the last step"}, p.at_end);
  }
};

struct CheckpointParameters {
  std::int64_t interval = 0;
  std::int64_t keep = 2;
  std::int64_t keep_every = 0;
  bool at_end = true;
  std::string staging = "copy";

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
  }
};

struct OutputParameters {
  std::string directory = "runs/default";

  template <class Self, class Visit>
  static void describe(Self& p, Visit&& visit) {
    visit(Field{.name = "directory",
                .meaning = "run directory: history.csv, run.log and checkpoints/; an existing "
                           "complete checkpoint in it is continued"},
          p.directory);
  }
};

struct TokenizeParameters {
  std::vector<std::string> input;
  std::string output = "";
  std::string text_key = "text";
  std::string document_separator = "";
  double validation_fraction = 0.0;
  std::int64_t shard_tokens = 100'000'000;

  template <class Self, class Visit>
  static void describe(Self& p, Visit&& visit) {
    visit(Field{.name = "input",
                .meaning = "text or JSON-lines files (.txt, .jsonl; also .gz, .zst)"},
          p.input);
    visit(Field{.name = "output", .meaning = "folder for train-*.h5 and validation-*.h5"},
          p.output);
    visit(Field{.name = "text_key", .meaning = "key of the text in JSON lines"}, p.text_key);
    visit(Field{.name = "document_separator",
                .meaning = "text between documents of a plain text file; empty: a file is one "
                           "document"},
          p.document_separator);
    visit(Field{.name = "validation_fraction",
                .meaning = "share of documents that goes to the validation shards",
                .min = 0,
                .max = 1},
          p.validation_fraction);
    visit(Field{.name = "shard_tokens", .unit = "tokens", .meaning = "tokens per shard", .min = 1},
          p.shard_tokens);
  }
};

struct GenerateParameters {
  std::string checkpoint = "";
  std::string prompt = "";
  std::string prompts = "";
  std::string prefix = "auto";
  bool ignore_end_of_text = false;
  std::int64_t max_new_tokens = 128;
  double temperature = 0.8;
  std::int64_t top_k = 0;
  double top_p = 0.95;
  std::int64_t seed = 1;

  template <class Self, class Visit>
  static void describe(Self& p, Visit&& visit) {
    visit(Field{.name = "checkpoint",
                .meaning = "checkpoint folder; empty: the newest of output.directory"},
          p.checkpoint);
    visit(Field{.name = "prompt", .meaning = "text to continue; \"-\": standard input"}, p.prompt);
    visit(Field{.name = "prompts",
                .meaning = "file of prompts in place of `prompt`: a text per line, or .jsonl"},
          p.prompts);
    visit(Field{.name = "prefix",
                .meaning = "in front of a prompt: \"auto\", what the checkpoint says, else the "
                           "separator; \"separator\", the one between documents of the training; "
                           "other text, such as an added token; empty: nothing"},
          p.prefix);
    visit(Field{.name = "ignore_end_of_text",
                .meaning = "go on after the document separator, up to max_new_tokens"},
          p.ignore_end_of_text);
    visit(
        Field{
            .name = "max_new_tokens", .unit = "tokens", .meaning = "length of the text", .min = 1},
        p.max_new_tokens);
    visit(Field{.name = "temperature",
                .meaning = "0: the most likely token (greedy)",
                .min = 0,
                .max = 100},
          p.temperature);
    visit(Field{.name = "top_k", .meaning = "sample from the k most likely; 0: all", .min = 0},
          p.top_k);
    visit(Field{.name = "top_p",
                .meaning = "sample from the smallest set of this probability",
                .min = 0,
                .max = 1},
          p.top_p);
    visit(Field{.name = "seed", .meaning = "seed of the sampling", .min = 0}, p.seed);
  }
};

struct EvaluationParameters {
  std::string checkpoint = "";
  std::string text = "";
  std::string tokens = "";
  std::string logits = "";

  template <class Self, class Visit>
  static void describe(Self& p, Visit&& visit) {
    visit(Field{.name = "checkpoint",
                .meaning = "checkpoint folder; empty: the newest of output.directory"},
          p.checkpoint);
    visit(Field{.name = "text", .meaning = "text file to evaluate; empty: data.validation"},
          p.text);
    visit(Field{.name = "tokens",
                .meaning = "HDF5 file whose dataset tokens (sequences, S+1) u32 is evaluated"},
          p.tokens);
    visit(Field{.name = "logits",
                .meaning = "HDF5 file to write: dataset logits (sequences, S, V) f32 of `tokens`"},
          p.logits);
  }
};

struct BenchParameters {
  std::int64_t warmup_steps = 2;
  std::int64_t steps = 8;

  template <class Self, class Visit>
  static void describe(Self& p, Visit&& visit) {
    visit(Field{.name = "warmup_steps", .unit = "steps", .meaning = "steps not counted", .min = 0},
          p.warmup_steps);
    visit(Field{.name = "steps", .unit = "steps", .meaning = "steps measured", .min = 1}, p.steps);
  }
};

struct ConvertParameters {
  std::string dtype = "auto";
  std::int64_t shard_bytes = 5'000'000'000;

  template <class Self, class Visit>
  static void describe(Self& p, Visit&& visit) {
    visit(Field{.name = "dtype",
                .meaning = "of exported weights; auto: the training dtype of the checkpoint",
                .choices = {"auto", "float32", "bfloat16", "float16"}},
          p.dtype);
    visit(Field{.name = "shard_bytes",
                .unit = "bytes",
                .meaning = "size of an exported safetensors file, unless one tensor is larger",
                .min = 1},
          p.shard_bytes);
  }
};

struct DebugParameters {
  bool dump_gradients = false;

  template <class Self, class Visit>
  static void describe(Self& p, Visit&& visit) {
    visit(
        Field{
            .name = "dump_gradients",
            .meaning =
                "writes the gradients of the run's first step to <output.directory>/gradients.h5, "
                "one dataset per tensor with Hugging Face's names and global shapes"},
        p.dump_gradients);
  }
};

/// The whole input of a command.
struct Parameters {
  RunParameters run;
  ModelParameters model;
  ParallelParameters parallel;
  DeviceParameters device;
  MemoryParameters memory;
  TrainingParameters training;
  OptimizerParameters optimizer;
  ScheduleParameters schedule;
  DataParameters data;
  ValidationParameters validation;
  CheckpointParameters checkpoint;
  OutputParameters output;
  TokenizeParameters tokenize;
  GenerateParameters generate;
  EvaluationParameters evaluation;
  BenchParameters bench;
  ConvertParameters convert;
  DebugParameters debug;

  /// visit(table name, what the table is for, table struct) for every table, in this order.
  template <class Self, class Visit>
  static void tables(Self& p, Visit&& visit) {
    visit("run", "The job", p.run);
    visit("model", "Architecture, with Hugging Face's names", p.model);
    visit("parallel", "The process grid", p.parallel);
    visit("device", "Host or GPU", p.device);
    visit("memory", "Memory for time", p.memory);
    visit("training", "Batches, length and precision", p.training);
    visit("optimizer", "AdamW", p.optimizer);
    visit("schedule", "Learning rate over the steps", p.schedule);
    visit("data", "Token shards", p.data);
    visit("validation", "Periodic validation", p.validation);
    visit("checkpoint", "Saving and restarting", p.checkpoint);
    visit("output", "Where results go", p.output);
    visit("tokenize", "espalier tokenize", p.tokenize);
    visit("generate", "espalier generate", p.generate);
    visit("evaluation", "espalier eval", p.evaluation);
    visit("bench", "espalier bench", p.bench);
    visit("convert", "espalier convert", p.convert);
    visit("debug", "Looking inside", p.debug);
  }
};

/// The input as TOML: every table and key with its value, in declaration order. It stands alone:
/// the model file, whose keys are written out, is named in a comment and not read again.
std::string to_toml(const Parameters& parameters);

/// What the input is read for: decides which tables must make sense beyond their ranges.
enum class Use {
  training,    ///< model, grid, batches, length, schedule, data
  planning,    ///< as training, for a dry run: data may be missing yet
  evaluation,  ///< grid; the model, when one is given (the checkpoint has its own)
  generation,  ///< as evaluation, and sampling
  bench,       ///< model, grid, batches; steps default to bench's, data are not needed
  tokenizing,  ///< [tokenize] and data.tokenizer
  encoding,    ///< as tokenizing, without an output
};
inline bool is_of_tokenizer(Use use) {
  return use == Use::tokenizing || use == Use::encoding;
}

/// Fills what depends on other keys (head_dim, num_key_value_heads, parallel.data, training.steps)
/// and checks ranges and everything that can be checked without files, for a job of `num_ranks`.
/// Throws one Error (bad_configuration, met by every rank) with a line per problem that says what
/// would fit.
void resolve(Parameters& parameters, int num_ranks, Use use = Use::training);

/// Whether no size of the model is given.
bool model_is_absent(const ModelParameters& model);

/// The ranks that [parallel] asks for, data = 0 counting as 1: what a dry run on one process
/// resolves for.
int declared_ranks(const Parameters& parameters);

/// Seconds of "90", "1.5", "MM:SS", "HH:MM:SS" or "D-HH:MM:SS"; nothing when it is none of these.
std::optional<double> parse_duration(std::string_view text);

}  // namespace espalier::config
