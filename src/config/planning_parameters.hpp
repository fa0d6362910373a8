#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "config/field.hpp"
#include "config/struct_list.hpp"

// Tables of `espalier plan`, and of the documents that it reads: a search, a loss law, a device, a
// campaign. What a table's struct looks like: config/parameters.hpp.

namespace espalier::config {

struct PlanParameters {
  std::vector<std::string> device = {};
  std::int64_t ranks = 0;
  double hours = 0.0;
  double checkpoint_minutes = 30.0;
  std::int64_t rows = 10;
  std::string format = "text";
  std::string plot = "";
  std::string write = "";
  std::int64_t write_row = 1;
  std::string schedule = "all";
  std::int64_t pipeline = 4;
  std::int64_t micro_batches = 0;
  std::int64_t chunks = 0;
  std::vector<std::int64_t> schedule_times = {1, 1, 1};

  template <class Self, class Visit>
  static void describe(Self& p, Visit&& visit) {
    visit(Field{.name = "device",
                .meaning = "devices to plan for: names in inputs/devices (\"b200\"), or files with "
                           "a [hardware] table; empty: the [hardware] of the input itself"},
          p.device);
    visit(Field{.name = "ranks",
                .unit = "ranks",
                .meaning = "devices of the job, a rank each; 0: as [parallel] says",
                .min = 0,
                .max = 1 << 20},
          p.ranks);
    visit(Field{.name = "hours", .unit = "h", .meaning = "time there is; 0: any", .min = 0},
          p.hours);
    visit(Field{.name = "checkpoint_minutes",
                .unit = "min",
                .meaning = "time between checkpoints where checkpoint.interval is 0",
                .min = 0},
          p.checkpoint_minutes);
    visit(Field{.name = "rows", .meaning = "rows of a table; 0: all", .min = 0}, p.rows);
    visit(Field{.name = "format",
                .meaning = "of what is printed",
                .choices = {"text", "csv", "markdown", "json"}},
          p.format);
    visit(
        Field{.name = "plot", .meaning = "new SVG file: the picture of the plan", .is_path = true},
        p.plot);
    visit(Field{.name = "write",
                .meaning = "folder for what the plan proposes: model files and run inputs",
                .is_path = true},
          p.write);
    visit(Field{.name = "write_row",
                .meaning = "the row of the table that `write` is about, from 1",
                .min = 1},
          p.write_row);
    visit(
        Field{.name = "schedule",
              .meaning = "pipeline schedule that plan schedule draws (all: a table of all) or that "
                         "plan grid's layouts have (all: the fastest of each)",
              .choices = {"all", "gpipe", "1f1b", "interleaved", "zb-h1", "zb1p", "zb-v",
                          "dualpipe-v"}},
        p.schedule);
    visit(Field{.name = "pipeline",
                .unit = "ranks",
                .meaning = "that a pipeline schedule is planned for",
                .min = 1,
                .max = 4096},
          p.pipeline);
    visit(Field{.name = "micro_batches",
                .meaning = "of a step through a pipeline; 0: training.global_batch_size over "
                           "training.micro_batch_size and parallel.data, which counts as 1 if 0",
                .min = 0,
                .max = 1 << 20},
          p.micro_batches);
    visit(
        Field{.name = "chunks",
              .meaning = "of a rank, pieces of the model, in interleaved and zb1p; 0: 2. zb-v and "
                         "dualpipe-v have 2, the others 1",
              .min = 0,
              .max = 64},
        p.chunks);
    visit(Field{.name = "schedule_times",
                .meaning = "of a rank's work on a micro-batch, in any unit: forward, gradients of "
                           "inputs, gradients of weights, and a message if it takes time"},
          p.schedule_times);
  }
};

struct SearchParameters {
  double budget = 0.0;
  double tolerance = 0.02;
  std::string flops = "exact";
  std::vector<std::int64_t> layers = {};
  std::int64_t layers_min = 0, layers_max = 0, layers_step = 1;
  std::vector<std::int64_t> hidden_sizes = {};
  std::int64_t hidden_min = 0, hidden_max = 0, hidden_step = 1;
  std::vector<std::int64_t> head_dims = {64, 128};
  double intermediate_ratio = 3.0;
  std::int64_t intermediate_multiple = 1;
  double tokens_min = 1e9, tokens_max = 1e12;
  std::int64_t tokens_count = 100;
  std::string tokens_spacing = "linear";
  double chinchilla_min = 0.0, chinchilla_max = 0.0;
  double parameters_min = 0.0, parameters_max = 0.0;
  bool count_qk_norm = true;
  std::vector<std::string> ties = {"loss", "parameters"};
  double loss_resolution = 0.0;

  template <class Self, class Visit>
  static void describe(Self& p, Visit&& visit) {
    visit(Field{.name = "budget", .unit = "FLOPs", .meaning = "of the whole training", .min = 0},
          p.budget);
    visit(Field{.name = "tolerance",
                .meaning = "share of the budget that a candidate may miss it by, either way",
                .min = 0,
                .max = 1},
          p.tolerance);
    visit(Field{.name = "flops",
                .meaning = "how FLOPs are counted; exact: the LM head once, causal attention half; "
                           "published: as the published searches for Qwen3 and Llama 3; 6n: six "
                           "per parameter and token; marin: as Marin's speedruns",
                .choices = {"exact", "published", "6n", "marin"}},
          p.flops);
    visit(Field{.name = "layers", .meaning = "numbers of layers; in place of the range"}, p.layers);
    visit(Field{.name = "layers_min", .meaning = "range of layers", .min = 0}, p.layers_min);
    visit(Field{.name = "layers_max", .meaning = "range of layers, at most", .min = 0},
          p.layers_max);
    visit(Field{.name = "layers_step", .meaning = "step of the range", .min = 1}, p.layers_step);
    visit(Field{.name = "hidden_sizes", .meaning = "hidden sizes; in place of the range"},
          p.hidden_sizes);
    visit(Field{.name = "hidden_min", .meaning = "range of hidden sizes", .min = 0}, p.hidden_min);
    visit(Field{.name = "hidden_max", .meaning = "range of hidden sizes, at most", .min = 0},
          p.hidden_max);
    visit(Field{.name = "hidden_step", .meaning = "step of the range", .min = 1}, p.hidden_step);
    visit(Field{.name = "head_dims",
                .meaning = "head sizes; heads = hidden size / head size, a multiple of "
                           "model.num_key_value_heads"},
          p.head_dims);
    visit(Field{.name = "intermediate_ratio",
                .meaning = "intermediate size over hidden size",
                .min = 0},
          p.intermediate_ratio);
    visit(Field{.name = "intermediate_multiple",
                .meaning = "what the intermediate size is rounded to a multiple of",
                .min = 1},
          p.intermediate_multiple);
    visit(Field{.name = "tokens_min", .unit = "tokens", .meaning = "fewest tokens", .min = 1},
          p.tokens_min);
    visit(Field{.name = "tokens_max", .unit = "tokens", .meaning = "most tokens", .min = 1},
          p.tokens_max);
    visit(Field{.name = "tokens_count", .meaning = "numbers of tokens between them", .min = 1},
          p.tokens_count);
    visit(Field{.name = "tokens_spacing",
                .meaning = "how they are spaced; both ends are among them",
                .choices = {"linear", "logarithmic"}},
          p.tokens_spacing);
    visit(Field{.name = "chinchilla_min",
                .meaning = "tokens per parameter over 20, at least; 0: any",
                .min = 0},
          p.chinchilla_min);
    visit(Field{.name = "chinchilla_max",
                .meaning = "tokens per parameter over 20, at most; 0: any",
                .min = 0},
          p.chinchilla_max);
    visit(Field{.name = "parameters_min", .meaning = "fewest parameters; 0: any", .min = 0},
          p.parameters_min);
    visit(Field{.name = "parameters_max", .meaning = "most parameters; 0: any", .min = 0},
          p.parameters_max);
    visit(Field{.name = "count_qk_norm",
                .meaning = "count the weights of QK-norm as parameters; the published search does "
                           "not"},
          p.count_qk_norm);
    visit(
        Field{.name = "ties",
              .meaning = "what decides between candidates, first to last: loss, parameters "
                         "(fewer), tokens (fewer), flops (nearest to the budget), layers (fewer); "
                         "what they leave open keeps the order of the space"},
        p.ties);
    visit(Field{.name = "loss_resolution",
                .unit = "nats",
                .meaning = "losses that round to the same multiple of it count as equal for ties; "
                           "0: all digits count",
                .min = 0},
          p.loss_resolution);
  }
};

struct LossLawParameters {
  std::string file = "";
  std::string name = "Chinchilla, published constants (Hoffmann et al. 2022, arXiv:2203.15556)";
  double e = 1.69, a = 406.4, alpha = 0.34, b = 410.7, beta = 0.28;
  std::string counts = "all";

  template <class Self, class Visit>
  static void describe(Self& p, Visit&& visit) {
    visit(Field{.name = "file",
                .meaning = "file with a [loss_law] table, as espalier plan fit writes it, which is "
                           "read first; relative to this file",
                .is_path = true},
          p.file);
    visit(Field{.name = "name", .meaning = "whose law L(N, D) = e + a/N^alpha + b/D^beta is"},
          p.name);
    visit(Field{.name = "e", .unit = "nats", .meaning = "what no model goes below", .min = 0}, p.e);
    visit(Field{.name = "a", .meaning = "factor of the term of the parameters", .min = 0}, p.a);
    visit(Field{.name = "alpha", .meaning = "exponent of the parameters", .min = 0}, p.alpha);
    visit(Field{.name = "b", .meaning = "factor of the term of the tokens", .min = 0}, p.b);
    visit(Field{.name = "beta", .meaning = "exponent of the tokens", .min = 0}, p.beta);
    visit(Field{.name = "counts",
                .meaning = "N: all parameters, or those outside embedding and LM head",
                .choices = {"all", "without_embedding"}},
          p.counts);
  }
};

/// The rate of one operator, where it was measured: seconds of a call = overhead + the larger of
/// FLOPs over gflops and bytes over gbs. Of a host all terms are added, those behind overhead_us
/// among them, which tell what a call costs beside its FLOPs (plan/time/host_operator.hpp).
struct OperatorRate {
  std::string name = "";
  double gflops = 0.0, gbs = 0.0, overhead_us = 0.0;
  std::string dtype = "";
  double left_ps = 0.0, right_ps = 0.0, result_ps = 0.0;
  double pair_ps = 0.0, row_ps = 0.0, element_ps = 0.0;

  template <class Self, class Visit>
  static void describe(Self& p, Visit&& visit) {
    visit(Field{.name = "name", .meaning = "operator, as `espalier bench operators` calls it"},
          p.name);
    visit(Field{.name = "gflops", .unit = "GFLOP/s", .meaning = "0: not known", .min = 0},
          p.gflops);
    visit(Field{.name = "gbs", .unit = "GB/s", .meaning = "of memory; 0: not known", .min = 0},
          p.gbs);
    visit(Field{.name = "overhead_us", .unit = "us", .meaning = "of a call", .min = 0},
          p.overhead_us);
    visit(Field{.name = "dtype",
                .meaning = "training.dtype that it was measured with; empty: any",
                .choices = {"", "bfloat16", "float32"}},
          p.dtype);
    const auto each = [&](std::string_view name, std::string_view meaning, auto& value) {
      visit(Field{.name = name, .unit = "ps", .meaning = meaning, .min = 0}, value);
    };
    each("left_ps", "of a product (m, k) (k, n) on a host: of each element of (m, k)", p.left_ps);
    each("right_ps", "of each element of (k, n)", p.right_ps);
    each("result_ps", "of each element of (m, n)", p.result_ps);
    each("pair_ps", "of attention on a host: of each pair of a query and a key that it sees",
         p.pair_ps);
    each("row_ps", "of each query of a head", p.row_ps);
    each("element_ps", "of each element of such a query", p.element_ps);
  }
};

/// One device (a GPU, or the cores of a rank), and what joins it to others.
struct HardwareParameters {
  std::string name = "";
  std::string kind = "gpu";
  std::int64_t compute_capability = 0;
  std::int64_t multiprocessors = 0;
  double memory_gib = 0.0;
  double peak_bf16_tflops = 0.0, peak_fp8_tflops = 0.0, peak_fp4_tflops = 0.0,
         peak_fp32_tflops = 0.0;
  double product_bf16_tflops = 0.0, product_fp8_tflops = 0.0, product_fp32_tflops = 0.0;
  double attention_forward_tflops = 0.0, attention_backward_tflops = 0.0;
  double attention_forward_half = 0.0, attention_backward_half = 0.0;
  double sustained_share = 1.0;
  double memory_gbs = 0.0, copy_gbs = 0.0;
  double overhead_us = 0.0;
  std::int64_t devices_per_node = 1;
  double link_gbs = 0.0, link_bus_gbs = 0.0, link_latency_us = 0.0;
  double network_gbs = 0.0, network_bus_gbs = 0.0, network_latency_us = 0.0;
  std::int64_t communication_multiprocessors = 0;
  double storage_gbs = 0.0;
  std::vector<OperatorRate> operators = {};
  std::string simd = "";
  double step_factor = 1.0;

  template <class Self, class Visit>
  static void describe(Self& p, Visit&& visit) {
    visit(Field{.name = "name", .meaning = "of the device, for tables"}, p.name);
    visit(Field{.name = "kind", .meaning = "a GPU, or a rank of a host", .choices = {"gpu", "cpu"}},
          p.kind);
    visit(Field{.name = "compute_capability", .meaning = "of a GPU: 90 is an H100", .min = 0},
          p.compute_capability);
    visit(Field{.name = "multiprocessors", .meaning = "of a GPU; cores of a rank", .min = 0},
          p.multiprocessors);
    visit(Field{.name = "memory_gib", .unit = "GiB", .meaning = "of the device", .min = 0},
          p.memory_gib);
    const auto rate = [&](std::string_view name, std::string_view meaning, auto& value) {
      visit(Field{.name = name, .unit = "TFLOP/s", .meaning = meaning, .min = 0}, value);
    };
    rate("peak_bf16_tflops", "dense peak of the data sheet: MFU is a share of it",
         p.peak_bf16_tflops);
    rate("peak_fp8_tflops", "dense peak of the data sheet", p.peak_fp8_tflops);
    rate("peak_fp4_tflops", "dense peak of the data sheet", p.peak_fp4_tflops);
    rate("peak_fp32_tflops", "dense peak of the data sheet", p.peak_fp32_tflops);
    rate("product_bf16_tflops", "best large matrix product that was measured",
         p.product_bf16_tflops);
    rate("product_fp8_tflops", "best large matrix product that was measured", p.product_fp8_tflops);
    rate("product_fp32_tflops", "best large matrix product that was measured",
         p.product_fp32_tflops);
    rate("attention_forward_tflops",
         "causal attention of long sequences, head_dim 128, measured, causal FLOPs",
         p.attention_forward_tflops);
    rate("attention_backward_tflops", "its gradients, likewise", p.attention_backward_tflops);
    const auto half = [&](std::string_view name, std::string_view meaning, auto& value) {
      visit(Field{.name = name, .unit = "tokens", .meaning = meaning, .min = 0}, value);
    };
    half("attention_forward_half", "length of sequence at which attention has half of that rate",
         p.attention_forward_half);
    half("attention_backward_half", "of its gradients", p.attention_backward_half);
    visit(Field{.name = "sustained_share",
                .meaning = "of the best rates of products and attention, what shapes and data of a "
                           "training get while the device is at its power limit, measured",
                .min = 0,
                .max = 1},
          p.sustained_share);
    visit(Field{.name = "memory_gbs", .unit = "GB/s", .meaning = "of the data sheet", .min = 0},
          p.memory_gbs);
    visit(Field{.name = "copy_gbs",
                .unit = "GB/s",
                .meaning = "of a large copy, read and written, measured",
                .min = 0},
          p.copy_gbs);
    visit(Field{.name = "overhead_us",
                .unit = "us",
                .meaning = "between two operators: launch and tail",
                .min = 0},
          p.overhead_us);
    visit(Field{.name = "devices_per_node", .meaning = "that `link` joins", .min = 1},
          p.devices_per_node);
    visit(Field{.name = "link_gbs",
                .unit = "GB/s",
                .meaning = "of a device to others of its node, in one direction",
                .min = 0},
          p.link_gbs);
    visit(Field{.name = "link_bus_gbs",
                .unit = "GB/s",
                .meaning = "bus bandwidth of large collectives of a node, measured; 0: link_gbs",
                .min = 0},
          p.link_bus_gbs);
    visit(Field{.name = "link_latency_us", .unit = "us", .meaning = "of a message there", .min = 0},
          p.link_latency_us);
    visit(Field{.name = "network_gbs",
                .unit = "GB/s",
                .meaning = "of a device to other nodes, in one direction",
                .min = 0},
          p.network_gbs);
    visit(Field{.name = "network_bus_gbs",
                .unit = "GB/s",
                .meaning = "share of a device in the bus bandwidth of large collectives between "
                           "nodes, measured; 0: network_gbs",
                .min = 0},
          p.network_bus_gbs);
    visit(
        Field{
            .name = "network_latency_us", .unit = "us", .meaning = "of a message there", .min = 0},
        p.network_latency_us);
    visit(Field{.name = "communication_multiprocessors",
                .meaning = "that collectives take from what is computed beside them",
                .min = 0},
          p.communication_multiprocessors);
    visit(Field{.name = "storage_gbs",
                .unit = "GB/s",
                .meaning = "of a node to the file system, writing",
                .min = 0},
          p.storage_gbs);
    visit(Field{.name = "operators", .meaning = "rates of single operators, where measured"},
          p.operators);
    visit(Field{.name = "simd", .meaning = "of a host: SIMD level of its operators"}, p.simd);
    visit(Field{.name = "step_factor",
                .meaning = "of a host: a whole step over the sum of its operations, which leaves "
                           "out what lies between them",
                .min = 1},
          p.step_factor);
  }
};

/// A phase of a campaign: one run, or several that differ in one key or in several that go
/// together.
struct CampaignPhase {
  std::string name = "";
  std::string input = "";
  std::vector<std::string> changes = {};
  double tokens = 0.0;
  double share = 0.0;

  template <class Self, class Visit>
  static void describe(Self& p, Visit&& visit) {
    visit(Field{.name = "name", .meaning = "of the phase and of the input it writes"}, p.name);
    visit(Field{.name = "input", .meaning = "run input it starts from", .is_path = true}, p.input);
    visit(Field{.name = "changes",
                .meaning = "section.key=value; of several values, \"a | b | c\", a run for each; "
                           "changes with several values go together, value by value"},
          p.changes);
    visit(Field{.name = "tokens",
                .unit = "tokens",
                .meaning = "of each run, rounded up to whole steps; 0: what the share of the time "
                           "allows or, without one, what the input says",
                .min = 0},
          p.tokens);
    visit(Field{.name = "share",
                .meaning = "of the hours that the reserve leaves, for all runs of the phase, which "
                           "get the same tokens; in place of `tokens`",
                .min = 0,
                .max = 1},
          p.share);
  }
};

struct CampaignParameters {
  double reserve = 0.05;
  std::vector<CampaignPhase> phases = {};

  template <class Self, class Visit>
  static void describe(Self& p, Visit&& visit) {
    visit(Field{.name = "reserve",
                .meaning = "share of plan.hours that is kept for starts, evaluation and accidents",
                .min = 0,
                .max = 1},
          p.reserve);
    visit(Field{.name = "phases", .meaning = "[[campaign.phases]], in order"}, p.phases);
  }
};

struct FitParameters {
  std::vector<std::string> hold_back = {};
  std::string loss = "validation";
  std::string counts = "all";
  bool unfinished = false;
  std::vector<std::string> columns = {};
  double huber_delta = 1e-3;
  std::int64_t resamples = 200;
  double confidence = 0.9;
  std::int64_t seed = 1;
  double predict_parameters = 0.0, predict_tokens = 0.0;

  template <class Self, class Visit>
  static void describe(Self& p, Visit&& visit) {
    visit(Field{.name = "hold_back",
                .meaning = "points that are predicted and not fitted: names of runs, or of rows of "
                           "a CSV (\"points.csv:7\", the line, where they have no name)"},
          p.hold_back);
    visit(Field{.name = "loss",
                .meaning = "of a run: its last validation, or the mean of the last tenth of its "
                           "training losses",
                .choices = {"validation", "training"}},
          p.loss);
    visit(Field{.name = "counts",
                .meaning = "N of a run: all parameters, or those outside embedding and LM head",
                .choices = {"all", "without_embedding"}},
          p.counts);
    visit(
        Field{.name = "unfinished",
              .meaning = "fit runs that have not reached their last step, too: their schedule was "
                         "made for more tokens, so their loss is too high for their D"},
        p.unfinished);
    visit(
        Field{.name = "columns",
              .meaning = "what the columns of a CSV are called where it is not parameters, tokens, "
                         "flops, loss and name: \"parameters=Model Size\""},
        p.columns);
    visit(Field{.name = "huber_delta",
                .meaning = "residual of log loss from which on it counts linearly (Chinchilla's "
                           "1e-3)",
                .min = 1e-9},
          p.huber_delta);
    visit(Field{.name = "resamples",
                .meaning = "of the bootstrap; 0: no intervals",
                .min = 0,
                .max = 1e6},
          p.resamples);
    visit(Field{.name = "confidence",
                .meaning = "share of the resamples that an interval holds",
                .min = 0.01,
                .max = 0.999},
          p.confidence);
    visit(Field{.name = "seed", .meaning = "of the resampling", .min = 0}, p.seed);
    visit(
        Field{
            .name = "predict_parameters", .meaning = "N to predict the loss of; 0: none", .min = 0},
        p.predict_parameters);
    visit(Field{.name = "predict_tokens", .unit = "tokens", .meaning = "D for it", .min = 0},
          p.predict_tokens);
  }
};

}  // namespace espalier::config
