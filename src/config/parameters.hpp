#pragma once
#include <optional>
#include <string>
#include <string_view>

#include "config/command_parameters.hpp"
#include "config/job_parameters.hpp"
#include "config/mistakes.hpp"
#include "config/model_parameters.hpp"
#include "config/planning_parameters.hpp"
#include "config/training_parameters.hpp"

// One struct per TOML table, in the headers above. Each member is declared once there with its
// default, and described once in the static `describe`, which hands (Field, member) to a visitor.
// `Self` is the struct, const or not. Names: Hugging Face's for the model, Megatron's for
// parallelism, torch's for the optimizer.

namespace espalier::config {

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
  ExpertParameters experts;
  DataParameters data;
  ValidationParameters validation;
  CheckpointParameters checkpoint;
  OutputParameters output;
  TokenizeParameters tokenize;
  GenerateParameters generate;
  EvaluationParameters evaluation;
  BenchParameters bench;
  ConvertParameters convert;
  InspectParameters inspect;
  ReportParameters report;
  VerifyParameters verify;
  PlanParameters plan;
  SearchParameters search;
  LossLawParameters loss_law;
  HardwareParameters hardware;
  CampaignParameters campaign;
  FitParameters fit;
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
    visit("experts", "Balance and memory of experts (model_type qwen3_moe)", p.experts);
    visit("data", "Token shards", p.data);
    visit("validation", "Periodic validation", p.validation);
    visit("checkpoint", "Saving and restarting", p.checkpoint);
    visit("output", "Where results go", p.output);
    visit("tokenize", "espalier tokenize", p.tokenize);
    visit("generate", "espalier generate", p.generate);
    visit("evaluation", "espalier eval", p.evaluation);
    visit("bench", "espalier bench", p.bench);
    visit("convert", "espalier convert", p.convert);
    visit("inspect", "espalier inspect", p.inspect);
    visit("report", "espalier report", p.report);
    visit("verify", "espalier verify-resume", p.verify);
    visit("plan", "espalier plan", p.plan);
    visit("search", "espalier plan search: the space of shapes and tokens", p.search);
    visit("loss_law", "Expected loss of N parameters after D tokens", p.loss_law);
    visit("hardware", "A device, in a file of inputs/devices", p.hardware);
    visit("campaign", "espalier plan campaign", p.campaign);
    visit("fit", "espalier plan fit", p.fit);
    visit("debug", "Looking inside", p.debug);
  }
};

/// Whether a table is of `espalier plan` alone: [plan], [search], [loss_law], [hardware],
/// [campaign], [fit].
bool is_of_plans(std::string_view table);

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
  document,    ///< ranges alone: the command resolves what it plans
};
inline bool is_of_tokenizer(Use use) {
  return use == Use::tokenizing || use == Use::encoding;
}

/// Fills what depends on other keys (head_dim, num_key_value_heads, parallel.data, training.steps)
/// and checks ranges and everything that can be checked without files, for a job of `num_ranks`.
/// Throws one Error (bad_configuration, met by every rank) with a line per problem that says what
/// would fit, after those that reading the input has `found`.
void resolve(Parameters& parameters, int num_ranks, Use use = Use::training, Mistakes found = {});

/// Whether no size of the model is given.
bool model_is_absent(const ModelParameters& model);

/// The ranks that [parallel] asks for, data = 0 counting as 1: what a dry run on one process
/// resolves for.
int declared_ranks(const Parameters& parameters);

/// Seconds of "90", "1.5", "MM:SS", "HH:MM:SS" or "D-HH:MM:SS"; nothing when it is none of these.
std::optional<double> parse_duration(std::string_view text);

}  // namespace espalier::config
