#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "config/field.hpp"

// Tables of single commands, and of debugging.
// What a table's struct looks like: config/parameters.hpp.

namespace espalier::config {

struct TokenizeParameters {
  std::vector<std::string> input;
  std::string output = "";
  std::string format = "auto";
  std::vector<std::string> text_key = {"text"};
  std::string source_key = "";
  std::string document_separator = "";
  std::string on_bad_line = "stop";
  std::string on_bad_file = "stop";
  double validation_fraction = 0.0;
  std::int64_t shard_tokens = 100'000'000;

  template <class Self, class Visit>
  static void describe(Self& p, Visit&& visit) {
    visit(Field{.name = "input",
                .meaning =
                    "files of text, JSON lines or Parquet (.txt, .jsonl, .ndjson, .json, also .gz, "
                    ".bz2, .xz, .zst; .parquet), folders of them, or \"-\": standard input",
                .is_path = true},
          p.input);
    visit(Field{.name = "output",
                .meaning = "folder for train-*.h5 and validation-*.h5",
                .is_path = true},
          p.output);
    visit(Field{.name = "format",
                .meaning = "what the files are; auto: as their names and first bytes say",
                .choices = {"auto", "text", "json_lines", "parquet"}},
          p.format);
    visit(Field{.name = "text_key",
                .meaning =
                    "key of the text in JSON lines, column in Parquet; dots for keys of objects in "
                    "objects (meta.text); several: their texts, joined by a newline"},
          p.text_key);
    visit(Field{.name = "source_key",
                .meaning = "key or column whose values divide the corpus: a folder of shards for "
                           "each below `output`; empty: none"},
          p.source_key);
    visit(Field{.name = "document_separator",
                .meaning = "text between documents of a plain text file; empty: a file is one "
                           "document"},
          p.document_separator);
    visit(Field{.name = "on_bad_line",
                .meaning = "a JSON line without a usable text: stop, or skip it and count it",
                .choices = {"stop", "skip"}},
          p.on_bad_line);
    visit(Field{.name = "on_bad_file",
                .meaning =
                    "a packed file or one of Parquet that is damaged or cut off: stop, or skip "
                    "what is behind the damage and count it",
                .choices = {"stop", "skip"}},
          p.on_bad_file);
    visit(Field{.name = "validation_fraction",
                .meaning = "share of documents that goes to the validation shards",
                .min = 0,
                .max = 1},
          p.validation_fraction);
    visit(Field{.name = "shard_tokens",
                .unit = "tokens",
                .meaning =
                    "tokens per shard, about; a small corpus is cut into shards of a 64th of it, "
                    "but of 4 MiB of text at least",
                .min = 1},
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
                .meaning = "checkpoint folder; empty: the newest of output.directory",
                .is_path = true},
          p.checkpoint);
    visit(Field{.name = "prompt", .meaning = "text to continue; \"-\": standard input"}, p.prompt);
    visit(Field{.name = "prompts",
                .meaning = "file of prompts in place of `prompt`: a text per line, or .jsonl",
                .is_path = true},
          p.prompts);
    visit(Field{.name = "prefix",
                .meaning = "in front of a prompt: \"auto\", what the checkpoint says, else "
                           "data.begin_of_document, else the separator; \"separator\", the one "
                           "between documents; other text, such as a token; empty: nothing"},
          p.prefix);
    visit(Field{.name = "ignore_end_of_text",
                .meaning = "go on after a token that ends a text, up to max_new_tokens"},
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
                .meaning = "checkpoint folder; empty: the newest of output.directory",
                .is_path = true},
          p.checkpoint);
    visit(Field{.name = "text",
                .meaning = "text to evaluate, of the kinds of tokenize.input; empty: "
                           "data.validation",
                .is_path = true},
          p.text);
    visit(Field{.name = "tokens",
                .meaning = "HDF5 file whose dataset tokens (sequences, S+1) u32 is evaluated",
                .is_path = true},
          p.tokens);
    visit(Field{.name = "logits",
                .meaning = "new HDF5 file: dataset logits (sequences, S, V) f32 of `tokens`",
                .is_path = true},
          p.logits);
  }
};

struct BenchParameters {
  std::int64_t warmup_steps = 2;
  std::int64_t steps = 8;
  std::int64_t document_tokens = 0;
  std::vector<std::int64_t> ranks;
  std::string scaling = "strong";
  std::string plot = "";
  std::string write = "";
  std::int64_t write_models = 0;

  template <class Self, class Visit>
  static void describe(Self& p, Visit&& visit) {
    visit(Field{.name = "warmup_steps", .unit = "steps", .meaning = "steps not counted", .min = 0},
          p.warmup_steps);
    visit(Field{.name = "steps", .unit = "steps", .meaning = "steps measured", .min = 1}, p.steps);
    visit(Field{.name = "document_tokens",
                .unit = "tokens",
                .meaning = "length of the documents that sequences are taken to consist of where "
                           "data.document_mask, in bench and in plans of time; 0: one document",
                .min = 0},
          p.document_tokens);
    visit(Field{.name = "ranks",
                .meaning = "rank counts that `espalier bench scaling` measures, the first ranks of "
                           "the job each time; empty: 1, 2, 4, ... up to those of the job"},
          p.ranks);
    visit(Field{.name = "scaling",
                .meaning = "`espalier bench scaling`: strong, the same batch on all; weak, "
                           "training.global_batch_size is of the fewest and grows with the ranks",
                .choices = {"strong", "weak"}},
          p.scaling);
    visit(Field{.name = "plot",
                .meaning = "new SVG file with the chart of `espalier bench scaling`; empty: none",
                .is_path = true},
          p.plot);
    visit(Field{.name = "write",
                .meaning = "new file: this host measured, as a device of `espalier plan`",
                .is_path = true},
          p.write);
    visit(Field{.name = "write_models",
                .meaning = "how many of its models `write` measures by; 0: all. Few are quick, and "
                           "the rates rough",
                .min = 0},
          p.write_models);
  }
};

struct ConvertParameters {
  std::string format = "auto";
  bool optimizer_state = true;
  std::string dtype = "auto";
  std::int64_t shard_bytes = 5'000'000'000;

  template <class Self, class Visit>
  static void describe(Self& p, Visit&& visit) {
    visit(Field{.name = "format",
                .meaning = "what target becomes; auto: a checkpoint of a Hugging Face folder, and "
                           "such a folder of a checkpoint. checkpoint, of a checkpoint: its copy "
                           "in one file",
                .choices = {"auto", "huggingface", "checkpoint"}},
          p.format);
    visit(Field{.name = "optimizer_state",
                .meaning = "a checkpoint made of a checkpoint keeps the optimizer's state and the "
                           "fp32 weights, so that a run can continue from it"},
          p.optimizer_state);
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

struct InspectParameters {
  bool hashes = false;
  bool difference = false;

  template <class Self, class Visit>
  static void describe(Self& p, Visit&& visit) {
    visit(Field{.name = "hashes",
                .meaning = "prints a 128-bit XXH3 hash of each tensor, the same for every grid "
                           "and layout that holds these elements"},
          p.hashes);
    visit(Field{.name = "difference",
                .meaning = "compares two checkpoints: tensors that are not in both, and for each "
                           "other how many elements differ and by how much"},
          p.difference);
  }
};

struct ReportParameters {
  std::string write = "report.html";
  std::string charts = "";

  template <class Self, class Visit>
  static void describe(Self& p, Visit&& visit) {
    visit(Field{.name = "write",
                .meaning = "the page of `espalier report`; a report that stands there is replaced",
                .is_path = true},
          p.write);
    visit(Field{.name = "charts",
                .meaning = "folder for the charts of the page as SVG files; empty: none",
                .is_path = true},
          p.charts);
  }
};

struct VerifyParameters {
  std::int64_t steps = 20;
  std::int64_t from = -1;

  template <class Self, class Visit>
  static void describe(Self& p, Visit&& visit) {
    visit(Field{.name = "steps",
                .unit = "steps",
                .meaning = "steps that are replayed and compared with history.csv",
                .min = 1},
          p.steps);
    visit(Field{.name = "from",
                .meaning = "step of the checkpoint that they start from; -1: the newest that so "
                           "many steps of history follow, else the oldest",
                .min = -1},
          p.from);
  }
};

struct DebugParameters {
  bool dump_gradients = false;
  std::vector<std::string> faults;

  template <class Self, class Visit>
  static void describe(Self& p, Visit&& visit) {
    visit(
        Field{
            .name = "dump_gradients",
            .meaning =
                "writes the gradients of the run's first step to <output.directory>/gradients.h5, "
                "one dataset per tensor with Hugging Face's names and global shapes"},
        p.dump_gradients);
    visit(Field{.name = "faults",
                .meaning = "faults that this job injects, to try what becomes of them: "
                           "\"KIND@STEP\" or \"KIND@STEP:RANK\" (rank 0 by default), KIND one of "
                           "nan-gradient, loss-spike, flip-weight, stop-rank, kill-rank"},
          p.faults);
  }
};

}  // namespace espalier::config
