#include "plan/scaling/candidate_input.hpp"

#include <fcntl.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <filesystem>

#include "base/error.hpp"
#include "base/text.hpp"
#include "config/changes.hpp"
#include "io/checkpoint_files.hpp"
#include "io/output_file.hpp"
#include "plan/scaling/search_space.hpp"
#include "plan/scaling/step_law.hpp"

namespace espalier::plan {
namespace {

namespace fs = std::filesystem;
using config::Field;
using config::Parameters;

constexpr std::size_t kColumns = 100;
/// Said even where they are the default: what the next reader looks for first.
constexpr std::array<std::string_view, 22> kAlways = {"run.name",
                                                      "model.model_type",
                                                      "model.vocab_size",
                                                      "model.hidden_size",
                                                      "model.intermediate_size",
                                                      "model.num_hidden_layers",
                                                      "model.num_attention_heads",
                                                      "model.num_key_value_heads",
                                                      "model.head_dim",
                                                      "model.tie_word_embeddings",
                                                      "model.rope_theta",
                                                      "model.rms_norm_eps",
                                                      "model.initializer_range",
                                                      "model.max_position_embeddings",
                                                      "training.sequence_length",
                                                      "training.global_batch_size",
                                                      "training.micro_batch_size",
                                                      "training.tokens",
                                                      "training.dtype",
                                                      "optimizer.learning_rate",
                                                      "schedule.name",
                                                      "output.directory"};

/// A meaning up to its first colon or semicolon, without a bracket that it would leave open.
std::string_view first_words(std::string_view meaning) {
  std::string_view words = meaning.substr(0, meaning.find_first_of(";:"));
  if (words.find('(') != std::string_view::npos && words.find(')') == std::string_view::npos)
    words = words.substr(0, words.find(" ("));
  return words;
}

/// "key = value  # meaning" with the comments below each other, as far as they fit.
std::string table_text(const std::string& table,
                       const std::vector<std::pair<std::string, std::string_view>>& lines) {
  std::size_t width = 0;
  for (const auto& [line, meaning] : lines)
    if (line.size() <= 40) width = std::max(width, line.size());
  std::string text = fmt::format("\n[{}]\n", table);
  for (const auto& [line, meaning] : lines) {
    const std::string_view words = first_words(meaning);
    const bool fits = std::max(width, line.size()) + 4 + words.size() <= kColumns;
    text += fits ? fmt::format("{:<{}}  # {}\n", line, width, words) : line + "\n";
  }
  return text;
}

/// The keys of one table that are not its default, and those that are always said.
template <class Table>
std::string table_of(const std::string& name, const Table& values) {
  std::vector<std::pair<std::string, std::string_view>> lines;
  const std::vector<config::Change> changes = config::changes(name, Table(), values);
  Table::describe(values, [&](const Field& field, const auto& value) {
    const std::string key = fmt::format("{}.{}", name, field.name);
    const bool is_changed =
        std::any_of(changes.begin(), changes.end(),
                    [&](const config::Change& change) { return change.key == key; });
    if (is_changed || std::find(kAlways.begin(), kAlways.end(), key) != kAlways.end())
      lines.emplace_back(fmt::format("{} = {}", field.name, config::toml_value(value)),
                         field.meaning);
  });
  return lines.empty() ? std::string() : table_text(name, lines);
}

/// "1.83b", "42.0m"
std::string short_count(double count) {
  std::string text = human_count(count);
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  std::erase_if(
      text, [](char c) { return c != '.' && std::isalnum(static_cast<unsigned char>(c)) == 0; });
  return text;
}

std::string expectations(const Candidate& c, const SearchSpace& space) {
  return fmt::format(
      "{:.6f} nats a token by {} + {}/N^{} + {}/D^{}\n"
      "#            after {:.4g} tokens, {:.3g} times 20 per parameter; {:.4g} FLOPs",
      c.loss, space.law.e, space.law.a, space.law.alpha, space.law.b, space.law.beta, c.tokens,
      c.chinchilla_ratio(), c.flops);
}

std::string hint(const Candidate& c) {
  const StepLaw law =
      step_law(static_cast<double>(c.architecture.num_parameters_without_embedding()), c.tokens);
  return fmt::format("learning rate {:.2g}, {:.2g} tokens a step", law.learning_rate,
                     law.batch_tokens);
}

}  // namespace

std::string name_of(const Candidate& c) {
  const model::Architecture& a = c.architecture;
  return fmt::format("{}-{}-l{}-h{}-a{}", a.model_type, short_count(c.parameters), a.num_layers,
                     a.hidden_size, a.num_heads);
}

Parameters run_of(const Parameters& search, const Candidate& candidate) {
  Parameters run = search;
  run.model = model_of(search, candidate.architecture);
  run.run.name = name_of(candidate);
  run.training.steps = 0;
  run.training.tokens = std::llround(candidate.tokens);
  if (run.output.directory == config::OutputParameters().directory)
    run.output.directory = "runs/" + run.run.name;
  run.search = {};
  return run;
}

CandidateInput candidate_input(const Parameters& run, const Candidate& candidate,
                               const SearchSpace& space, const std::string& remarks) {
  CandidateInput input{.name = name_of(candidate), .model_file = {}, .run_file = {}};
  const std::string title = fmt::format("{}, {} parameters.", input.name,
                                        with_commas(candidate.architecture.num_parameters()));
  input.model_file = fmt::format(
      "# {}\n"
      "#\n"
      "# Purpose:   a shape for {:.4g} FLOPs ({} count) and {:.4g} tokens, from a search by\n"
      "#            espalier plan search.\n"
      "# Expected:  {}.\n",
      title, space.budget, convention_name(space.convention), candidate.tokens,
      expectations(candidate, space));
  input.model_file += table_of("model", run.model);

  input.run_file = fmt::format(
      "# A run of {}\n"
      "#\n"
      "# Purpose:   the tokens that a search by espalier plan search gives this shape.\n"
      "# Expected:  {}.\n"
      "# Hint:      {} (Step Law, arXiv:2503.04715).\n",
      title, expectations(candidate, space), hint(candidate));
  input.run_file += remarks;
  Parameters::tables(run, [&](std::string_view table, std::string_view, const auto& values) {
    const std::string name(table);
    if (name == "model") {
      input.run_file +=
          table_text(name, {{fmt::format("file = {}", config::toml_value(input.name + ".toml")),
                             "beside this file"}});
    } else if (!config::is_of_plans(name) || name == "loss_law") {
      input.run_file += table_of(name, values);
    }
  });
  if (run.data.train.empty() && run.data.sources.empty())
    input.run_file +=
        "\n# What is missing before it can start, not before --dry-run:\n"
        "#   [data]\n"
        "#   train = \"data/shards\"           # token shards, which espalier tokenize makes\n"
        "#   tokenizer = \"tokenizer.json\"    # of the vocabulary above\n";
  return input;
}

void write_candidate_input(const std::string& folder, const CandidateInput& input) {
  std::error_code ignored;
  require(!fs::exists(folder, ignored) || fs::is_directory(folder, ignored),
          ExitStatus::bad_configuration,
          "plan.write = \"{}\" is a file: name a folder, new or not, for model file and run input",
          folder);
  io::create_folder(folder);
  const std::array<std::pair<fs::path, const std::string*>, 2> files = {
      {{fs::path(folder) / (input.name + ".toml"), &input.model_file},
       {fs::path(folder) / (input.name + "-run.toml"), &input.run_file}}};
  for (const auto& [path, text] : files) io::require_new_output(path, "plan.write");
  for (const auto& [path, text] : files) {
    io::FileDescriptor file(path, O_WRONLY | O_CREAT | O_EXCL);
    file.write_at(text->data(), text->size(), 0);
    file.flush();
  }
}

}  // namespace espalier::plan
