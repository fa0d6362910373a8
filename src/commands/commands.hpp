#pragma once
#include <span>
#include <string>
#include <string_view>

#include "base/error.hpp"
#include "config/parameters.hpp"
#include "parallel/comm/session.hpp"

namespace espalier::commands {

// What the program does, one function a command, each in its own .cpp. All ranks call it alike,
// with the same resolved parameters; a dry run builds and prints what the command would work with,
// for the grid of [parallel], and computes nothing.

ExitStatus train(parallel::MpiSession& session, config::Parameters& parameters, bool dry_run);
/// What a training job of this input and shape would meet: `parameters` are read and not resolved.
ExitStatus check(parallel::MpiSession& session, config::Parameters& parameters, bool dry_run);
ExitStatus eval(parallel::MpiSession& session, config::Parameters& parameters, bool dry_run);
ExitStatus generate(parallel::MpiSession& session, config::Parameters& parameters, bool dry_run);
ExitStatus bench(parallel::MpiSession& session, config::Parameters& parameters, bool dry_run);
ExitStatus bench_operators(parallel::MpiSession& session, config::Parameters& parameters,
                           bool dry_run);
ExitStatus bench_attention(parallel::MpiSession& session, config::Parameters& parameters,
                           bool dry_run);
ExitStatus bench_scaling(parallel::MpiSession& session, config::Parameters& parameters,
                         bool dry_run);
ExitStatus bench_tokenizer(parallel::MpiSession& session, config::Parameters& parameters,
                           bool dry_run);
ExitStatus tokenize(parallel::MpiSession& session, config::Parameters& parameters, bool dry_run);

/// Prints what is in token shards, checkpoints and tokenizers, or where two checkpoints differ; it
/// needs no input file.
ExitStatus inspect(parallel::MpiSession& session, std::span<const std::string> paths,
                   std::span<const std::string> overrides, bool dry_run);

/// Weights from a Hugging Face folder to a checkpoint, or from a checkpoint to such a folder:
/// paths[0] to paths[1]. `overrides` are section.key=value.
ExitStatus convert(parallel::MpiSession& session, std::span<const std::string> paths,
                   std::span<const std::string> overrides, bool dry_run);

/// Token files of Megatron and llm.c to token shards: all paths but the last to the folder that the
/// last one names. `overrides` are section.key=value.
ExitStatus convert_tokens(parallel::MpiSession& session, std::span<const std::string> paths,
                          std::span<const std::string> overrides, bool dry_run);

/// How runs stand, at a terminal: `paths` are run directories.
ExitStatus status(parallel::MpiSession& session, std::span<const std::string> paths,
                  std::span<const std::string> overrides, bool dry_run);

/// Steps of a run replayed from a checkpoint and compared with what it recorded: `paths` is its
/// directory.
ExitStatus verify_resume(parallel::MpiSession& session, std::span<const std::string> paths,
                         std::span<const std::string> overrides, bool dry_run);

/// Runs as one HTML page, and charts of it: `paths` are run directories.
ExitStatus report(parallel::MpiSession& session, std::span<const std::string> paths,
                  std::span<const std::string> overrides, bool dry_run);

// espalier plan ... (plan_table.cpp). `paths` are input files; `run` of the others is given an
// input that is read and not resolved (config::Use::document).
ExitStatus plan_search(parallel::MpiSession& session, config::Parameters& parameters, bool dry_run);
ExitStatus plan_memory(parallel::MpiSession& session, config::Parameters& parameters, bool dry_run);
ExitStatus plan_time(parallel::MpiSession& session, config::Parameters& parameters, bool dry_run);
ExitStatus plan_grid(parallel::MpiSession& session, config::Parameters& parameters, bool dry_run);
ExitStatus plan_schedule(parallel::MpiSession& session, config::Parameters& parameters,
                         bool dry_run);
ExitStatus plan_compare(parallel::MpiSession& session, std::span<const std::string> paths,
                        std::span<const std::string> overrides, bool dry_run);
ExitStatus plan_campaign(parallel::MpiSession& session, std::span<const std::string> paths,
                         std::span<const std::string> overrides, bool dry_run);
ExitStatus plan_fit(parallel::MpiSession& session, std::span<const std::string> paths,
                    std::span<const std::string> overrides, bool dry_run);

/// An option of a command that is short for a key: `--tokens in.h5` for evaluation.tokens=in.h5.
struct Option {
  std::string_view flag;
  std::string_view key;
  /// What follows it: a text; a number; nothing, and the key is true.
  enum class Value { text, number, none } value = Value::text;
};

/// A row of the table of commands (command_table.cpp), from which the command line, its help and
/// the dispatch come. Commands with `run` read an input file; `run_on_paths_with_input` is given
/// file names and overrides.
struct Command {
  std::string_view name;
  std::string_view arguments;  ///< after the name, in the line of usage
  std::string_view summary;    ///< one line for the list
  std::string_view details;    ///< the page of `espalier help <command>`
  config::Use use = config::Use::training;
  bool takes_checkpoint = false;  ///< a checkpoint or run folder may stand for the input file
  bool stops_early = false;       ///< asked by a signal, with status 75 and what is done kept
  std::span<const Option> options = {};
  /// Of a plan: the keys of [plan] that it heeds. Another one on the command line is a mistake; in
  /// an input it may be meant for other plans.
  std::span<const std::string_view> plan_keys = {};
  bool has_dry_run = true;  ///< else --dry-run is refused
  ExitStatus (*run)(parallel::MpiSession&, config::Parameters&, bool dry_run) = nullptr;
  ExitStatus (*run_on_paths_with_input)(parallel::MpiSession&, std::span<const std::string> paths,
                                        std::span<const std::string> overrides,
                                        bool dry_run) = nullptr;
};

std::span<const Command> command_table();
/// Those of `espalier plan`, which are part of it.
std::span<const Command> plan_command_table();
/// The page of `espalier help plan`: which of them answers which question.
std::string_view plan_guide();

}  // namespace espalier::commands
