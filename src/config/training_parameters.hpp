#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "config/field.hpp"
#include "config/struct_list.hpp"

// What a training run computes: batches, optimizer, schedule, data, validation.
// What a table's struct looks like: config/parameters.hpp.

namespace espalier::config {

struct TrainingParameters {
  std::int64_t sequence_length = 2048;
  std::int64_t global_batch_size = 8;
  std::int64_t micro_batch_size = 1;
  std::int64_t steps = 0;
  std::int64_t tokens = 0;
  std::string dtype = "bfloat16";
  std::int64_t seed = 1;
  std::int64_t loss_chunk_tokens = 0;
  std::int64_t log_interval = 10;

  template <class Self, class Visit>
  static void describe(Self& p, Visit&& visit) {
    visit(Field{.name = "sequence_length",
                .unit = "tokens",
                .meaning = "tokens per sequence (S)",
                .min = 1,
                .max = 1 << 24,
                .changes = Changes::course},
          p.sequence_length);
    visit(
        Field{.name = "global_batch_size",
              .unit = "sequences",
              .meaning = "sequences per step over all ranks; a multiple of micro_batch_size * data",
              .min = 1,
              .max = 1 << 24,
              .changes = Changes::course},
        p.global_batch_size);
    visit(Field{.name = "micro_batch_size",
                .unit = "sequences",
                .meaning = "sequences a rank computes at once (B)",
                .min = 1,
                .max = 65536,
                .changes = Changes::nothing},
          p.micro_batch_size);
    visit(Field{.name = "steps",
                .unit = "steps",
                .meaning = "length of the run; 0: from training.tokens",
                .min = 0,
                .changes = Changes::course},
          p.steps);
    visit(Field{.name = "tokens",
                .unit = "tokens",
                .meaning = "length of the run when steps is 0: rounded up to whole steps",
                .min = 0,
                .changes = Changes::nothing},
          p.tokens);
    visit(Field{.name = "dtype",
                .meaning = "weights and activations; sums and optimizer are fp32",
                .choices = {"bfloat16", "float32"},
                .changes = Changes::function},
          p.dtype);
    visit(Field{.name = "seed",
                .meaning = "seed of initial weights and sample order",
                .min = 0,
                .changes = Changes::course},
          p.seed);
    visit(Field{.name = "loss_chunk_tokens",
                .unit = "tokens",
                .meaning =
                    "tokens whose logits exist at one time; 0: 1024, on a GPU more, as long as "
                    "a rank's logits take at most 1.25 GiB",
                .min = 0,
                .max = 1 << 24,
                .changes = Changes::nothing},
          p.loss_chunk_tokens);
    visit(Field{.name = "log_interval",
                .unit = "steps",
                .meaning = "steps between printed lines; history.csv has every step",
                .min = 1,
                .changes = Changes::nothing},
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
    visit(Field{.name = "learning_rate",
                .meaning = "peak learning rate",
                .min = 0,
                .max = 100,
                .changes = Changes::course},
          p.learning_rate);
    visit(Field{.name = "beta1",
                .meaning = "AdamW decay of the first moment",
                .min = 0,
                .max = 0.999999,
                .changes = Changes::course},
          p.beta1);
    visit(Field{.name = "beta2",
                .meaning = "AdamW decay of the second moment",
                .min = 0,
                .max = 0.9999999,
                .changes = Changes::course},
          p.beta2);
    visit(Field{.name = "eps",
                .meaning = "AdamW epsilon",
                .min = 0,
                .max = 1,
                .changes = Changes::course},
          p.eps);
    visit(Field{.name = "weight_decay",
                .meaning = "decoupled weight decay of matrices (norm weights have none)",
                .min = 0,
                .max = 100,
                .changes = Changes::course},
          p.weight_decay);
    visit(Field{.name = "max_grad_norm",
                .meaning = "global-norm clipping; 0: none",
                .min = 0,
                .changes = Changes::course},
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
                .choices = {"cosine", "linear", "warmup_stable_decay", "constant"},
                .changes = Changes::course},
          p.name);
    visit(Field{.name = "warmup_steps",
                .unit = "steps",
                .meaning = "linear warm-up",
                .min = 0,
                .changes = Changes::course},
          p.warmup_steps);
    visit(Field{.name = "decay_steps",
                .unit = "steps",
                .meaning = "length of the decay of warmup_stable_decay",
                .min = 0,
                .changes = Changes::course},
          p.decay_steps);
    visit(Field{.name = "min_learning_rate",
                .meaning = "learning rate at the end",
                .min = 0,
                .changes = Changes::course},
          p.min_learning_rate);
  }
};

struct ExpertParameters {
  std::string balance = "sequence";
  double balance_coefficient = -1.0;
  double z_loss_coefficient = 0.0;
  std::string bias_update = "deepseek";
  double bias_update_rate = 1.0e-3;
  std::string router_dtype = "float32";
  double capacity_factor = 2.0;

  template <class Self, class Visit>
  static void describe(Self& p, Visit&& visit) {
    visit(Field{.name = "balance",
                .meaning =
                    "what keeps the load of the experts even: a loss per sequence, per micro-batch "
                    "of a rank, or with the loads of all ranks (global); bias: a bias of the "
                    "choice, learned without a loss; huggingface: one loss over all layers "
                    "together, as transformers has it; none",
                .choices = {"sequence", "batch", "global", "bias", "huggingface", "none"},
                .changes = Changes::course},
          p.balance);
    visit(Field{.name = "balance_coefficient",
                .meaning = "of the balance loss, whose value is 1 at an even load (huggingface: "
                           "k); -1: model.router_aux_loss_coef, with bias 0. With bias it is that "
                           "of a loss per sequence beside it",
                .min = -1,
                .changes = Changes::course},
          p.balance_coefficient);
    visit(Field{.name = "z_loss_coefficient",
                .meaning = "of the mean squared log-sum-exp of the router's logits "
                           "(Zoph et al. 2022), summed over layers; 0: none",
                .min = 0,
                .changes = Changes::course},
          p.z_loss_coefficient);
    visit(Field{.name = "bias_update",
                .meaning = "bias: how it changes once per step; torchtitan's keeps its mean",
                .choices = {"deepseek", "torchtitan"},
                .changes = Changes::course},
          p.bias_update);
    visit(Field{.name = "bias_update_rate",
                .meaning = "bias: by how much an expert's bias changes per step",
                .min = 0,
                .changes = Changes::course},
          p.bias_update_rate);
    visit(Field{.name = "router_dtype",
                .meaning = "logits of the router: kept in fp32, or rounded to training.dtype, as "
                           "transformers has them",
                .choices = {"float32", "model"},
                .changes = Changes::function},
          p.router_dtype);
    visit(Field{.name = "capacity_factor",
                .meaning = "rows that a rank's experts have memory for, in units of its own tokens "
                           "x k; more rows are computed in further rounds, none is dropped",
                .min = 0.125,
                .max = 65536,
                .changes = Changes::nothing},
          p.capacity_factor);
  }
};

/// A set of token shards in a mixture.
struct DataSource {
  std::string train = "";
  double weight = 1.0;
  std::string name = "";

  template <class Self, class Visit>
  static void describe(Self& p, Visit&& visit) {
    visit(Field{.name = "train",
                .meaning = "its token shards, named as in data.train",
                .is_path = true},
          p.train);
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
  std::string begin_of_document = "auto";
  std::string document_separator_token = "";
  std::string order = "shuffled";
  std::string end_of_data = "repeat";
  bool document_mask = false;
  bool predict_across_documents = true;
  bool verify_checksum = true;

  template <class Self, class Visit>
  static void describe(Self& p, Visit&& visit) {
    visit(Field{.name = "train",
                .meaning = "token shards: a file, or a folder with train-*.h5 (sorted by name)",
                .is_path = true,
                .changes = Changes::course},
          p.train);
    visit(Field{.name = "sources",
                .meaning = "in place of train, shard sets mixed by weight: a [[data.sources]] "
                           "with the keys below for each",
                .changes = Changes::course},
          p.sources);
    visit(Field{.name = "validation",
                .meaning = "token shards for validation: a file, or a folder with "
                           "validation-*.h5; empty: none",
                .is_path = true,
                .changes = Changes::course},
          p.validation);
    visit(Field{.name = "tokenizer",
                .meaning = "tokenizer.json or .tiktoken file; must be the one of the shards",
                .is_path = true,
                .changes = Changes::nothing},
          p.tokenizer);
    visit(Field{.name = "begin_of_document",
                .meaning = "token in front of every document, for tokenize, eval and generate: "
                           "\"auto\", what the tokenizer puts there (Llama 3: <|begin_of_text|>); "
                           "\"none\"; or a token",
                .changes = Changes::course},
          p.begin_of_document);
    visit(Field{.name = "document_separator_token",
                .meaning = "token behind every document; empty: the tokenizer's <|endoftext|>, "
                           "<|end_of_text|> or </s>",
                .changes = Changes::course},
          p.document_separator_token);
    visit(Field{.name = "order",
                .meaning = "order of the samples in an epoch",
                .choices = {"shuffled", "sequential"},
                .changes = Changes::course},
          p.order);
    visit(Field{.name = "end_of_data",
                .meaning = "when all samples were seen: repeat them in another order, or stop the "
                           "run as finished",
                .choices = {"repeat", "stop"},
                .changes = Changes::course},
          p.end_of_data);
    visit(Field{.name = "document_mask",
                .meaning = "attention stays inside a document (its text and the separator behind "
                           "it), whose first token in the sample has position 0",
                .changes = Changes::course},
          p.document_mask);
    visit(Field{.name = "predict_across_documents",
                .meaning =
                    "false: the first token of a document is not a target of the document before",
                .changes = Changes::course},
          p.predict_across_documents);
    visit(Field{.name = "verify_checksum",
                .meaning = "read every shard once at start and compare",
                .changes = Changes::nothing},
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

}  // namespace espalier::config
