#include <algorithm>
#include <cerrno>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <functional>
#include <iostream>
#include <iterator>

#include <fmt/ranges.h>

#include "base/log.hpp"
#include "base/random.hpp"
#include "commands/commands.hpp"
#include "commands/prompts.hpp"
#include "commands/trained_model.hpp"
#include "config/sequence_limit.hpp"
#include "huggingface/special_tokens.hpp"
#include "io/json_text.hpp"
#include "kernels/attention/attention_provider.hpp"
#include "model/decoder.hpp"
#include "parallel/comm/on_rank_0.hpp"
#include "tokenizer/tokenizer.hpp"
#include "train/document_marks.hpp"

namespace espalier::commands {
namespace {

/// The next token: greedy at temperature 0, else sampled from the top_k most likely within the
/// smallest set of probability top_p (Holtzman et al. 2020). Only ids of `tokens`, ascending, are
/// taken: rows of the embedding that no token has are padding. `u` is uniform in [0, 1).
std::uint32_t pick(std::span<const float> logits, std::span<const std::uint32_t> tokens,
                   const config::GenerateParameters& p, double u) {
  require(std::all_of(tokens.begin(), tokens.end(),
                      [&](std::uint32_t id) { return std::isfinite(logits[id]); }),
          ExitStatus::internal, "the logits of {} are not finite: its weights are broken",
          p.checkpoint);
  // Ties are broken by id, so that every rank and every run agrees.
  const auto is_more_likely = [&](std::uint32_t a, std::uint32_t b) {
    return logits[a] != logits[b] ? logits[a] > logits[b] : a < b;
  };
  if (p.temperature == 0.0) return *std::min_element(tokens.begin(), tokens.end(), is_more_likely);
  std::vector<std::uint32_t> order(tokens.begin(), tokens.end());
  std::sort(order.begin(), order.end(), is_more_likely);
  if (p.top_k > 0 && p.top_k < static_cast<std::int64_t>(order.size()))
    order.resize(static_cast<std::size_t>(p.top_k));
  std::vector<double> weight;
  double total = 0.0;
  for (const std::uint32_t id : order) {
    weight.push_back(std::exp(
        (static_cast<double>(logits[id]) - static_cast<double>(logits[order[0]])) / p.temperature));
    total += weight.back();
  }
  double kept = 0.0;
  std::size_t count = 0;
  while (count < order.size() && (count == 0 || kept < p.top_p * total)) kept += weight[count++];
  double target = u * kept;
  for (std::size_t i = 0; i + 1 < count; ++i) {
    if (target < weight[i]) return order[i];
    target -= weight[i];
  }
  return order[count - 1];
}

/// The prompts, the same on every rank: of the file, or the one of generate.prompt.
std::vector<Prompt> all_prompts(const config::Parameters& p, parallel::MpiSession& session) {
  const std::vector<std::string>& key = p.tokenize.text_key;
  if (const std::string& file = p.generate.prompts; !file.empty()) {
    // A stream is there once, and what is wrong with a file is told once.
    const std::string text =
        parallel::on_rank_0(session, [&] { return read_prompt_file(file, key); });
    return prompts_of_file(file, text, key);
  }
  if (p.generate.prompt != "-") return {{p.generate.prompt}};
  return {{parallel::on_rank_0(session, [] {
    return prompt_of_stream(std::string(std::istreambuf_iterator<char>(std::cin), {}));
  })}};
}

/// What a tokenizer and the tables of the input make of the ends of a text.
struct Language {
  explicit Language(const TrainedModel& trained) : tokenizer(trained.open_tokenizer()) {
    const config::Parameters& p = trained.parameters;
    const auto marks = train::document_marks(p.data, tokenizer);
    if (p.generate.prefix == "separator")
      prefix = {train::require_separator(marks, tokenizer)};
    else if (p.generate.prefix != "auto")
      prefix = tokenizer.encode(p.generate.prefix);
    else if (!marks.begin.empty())
      prefix = marks.begin;
    else if (marks.separator)
      prefix = {*marks.separator};
    ends = huggingface::ids_that_end_a_text(p.model);
    if (marks.separator) ends.push_back(*marks.separator);
    if (p.generate.ignore_end_of_text) ends.clear();
    const auto num_ids = std::min<std::int64_t>(tokenizer.size(), trained.architecture.vocab_size);
    for (std::uint32_t id = 0; id < num_ids; ++id)
      if (tokenizer.has_token(id)) tokens.push_back(id);
  }
  bool ends_a_text(std::uint32_t id) const {
    return std::find(ends.begin(), ends.end(), id) != ends.end();
  }

  tokenizer::Tokenizer tokenizer;
  std::vector<std::uint32_t> prefix;  ///< in front of a prompt
  std::vector<std::uint32_t> ends;    ///< a text is over before one of them
  std::vector<std::uint32_t> tokens;  ///< ids that the tokenizer has and the model too, ascending
};

/// Why a prompt of so many tokens, with its prefix, cannot be continued; empty: it can.
std::string obstacle(const TrainedModel& trained, std::size_t num_tokens) {
  const std::int64_t max_new_tokens = trained.parameters.generate.max_new_tokens;
  if (num_tokens == 0)
    return "the prompt is empty and so is generate.prefix: there is nothing to continue";
  const config::ModelParameters& model = trained.parameters.model;
  if (static_cast<std::int64_t>(num_tokens) + max_new_tokens > config::longest_sequence(model))
    return fmt::format(
        "prompt ({} tokens) and generate.max_new_tokens = {} are longer than {}; ask for less",
        num_tokens, max_new_tokens, config::describe_longest_sequence(model));
  return {};
}

/// Continues `ids`, the prompt with this number, and hands every new token to `sink` as it comes.
/// Every prompt has random numbers of its own. Collective.
void continue_text(TrainedModel& trained, const Language& language,
                   const std::vector<std::uint32_t>& ids, std::int64_t number,
                   const std::function<void(std::uint32_t)>& sink) {
  const config::GenerateParameters& p = trained.parameters.generate;
  const std::int64_t max_tokens = static_cast<std::int64_t>(ids.size()) + p.max_new_tokens;
  const auto provider = kernels::attention_provider_from_name(trained.parameters.device.attention);
  const auto layout = [&](device::Arena& arena) {
    return model::Decoder(trained.architecture, *trained.weights, trained.dtype, max_tokens,
                          trained.rank_context.context, trained.communicators, arena, provider);
  };
  device::Arena plan = device::Arena::planning("decoder");
  layout(plan);
  device::Arena arena =
      device::Arena::backed("decoder", plan.used_bytes(), trained.rank_context.gpu);
  model::Decoder decoder = layout(arena);

  const RandomStream stream(static_cast<std::uint64_t>(p.seed),
                            fmt::format("sampling of prompt {}", number));
  std::span<const float> logits = decoder.append(ids);
  for (std::int64_t i = 0; i < p.max_new_tokens; ++i) {
    const std::uint32_t id =
        pick(logits, language.tokens, p, stream.uniform(static_cast<std::uint64_t>(i)));
    if (language.ends_a_text(id)) break;
    sink(id);
    if (i + 1 < p.max_new_tokens) logits = decoder.append({&id, 1});
  }
}

void print(std::string_view text) {
  if (log::rank() != 0) return;
  errno = 0;
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() || std::fflush(stdout) != 0)
    fail(ExitStatus::io_error, "standard output cannot be written: {}", std::strerror(errno));
}

/// A person reads a text as it grows.
void answer_person(TrainedModel& trained, const Language& language, const std::string& prompt) {
  const std::vector<std::uint32_t> prompt_ids = language.tokenizer.encode(prompt);
  std::vector<std::uint32_t> ids = language.prefix;
  ids.insert(ids.end(), prompt_ids.begin(), prompt_ids.end());
  if (const std::string why = obstacle(trained, ids.size()); !why.empty())
    throw Error(ExitStatus::bad_configuration, why, Met::by_every_rank);
  print(language.tokenizer.decode(prompt_ids));
  bool is_first = true;
  continue_text(trained, language, ids, 0, [&](std::uint32_t id) {
    print(language.tokenizer.decode({&id, 1}, prompt_ids.empty() && is_first
                                                  ? tokenizer::TextPlace::whole
                                                  : tokenizer::TextPlace::continued));
    is_first = false;
  });
  print("\n");
}

/// A program reads lines: one for every prompt, also for one that cannot be continued, which is
/// named and does not stop the others.
void answer_program(TrainedModel& trained, const Language& language,
                    const std::vector<Prompt>& prompts) {
  const std::string& file = trained.parameters.generate.prompts;
  std::int64_t number = 0;
  std::size_t num_refused = 0;
  for (const Prompt& prompt : prompts) {
    std::vector<std::uint32_t> ids = language.prefix;
    const std::vector<std::uint32_t> prompt_ids = language.tokenizer.encode(prompt.text);
    ids.insert(ids.end(), prompt_ids.begin(), prompt_ids.end());
    const std::string in_json = io::json_string(prompt.text);
    if (const std::string why = obstacle(trained, ids.size()); !why.empty()) {
      if (log::rank() == 0) log::warn("{}:{}: {}", file, prompt.line, why);
      print(fmt::format("{{\"prompt\": {}, \"error\": {}}}\n", in_json, io::json_string(why)));
      ++num_refused;
      ++number;
      continue;
    }
    std::vector<std::uint32_t> answer;
    continue_text(trained, language, ids, number++,
                  [&](std::uint32_t id) { answer.push_back(id); });
    const std::string text = language.tokenizer.decode(
        answer, prompt_ids.empty() ? tokenizer::TextPlace::whole : tokenizer::TextPlace::continued);
    print(fmt::format("{{\"prompt\": {}, \"text\": {}, \"tokens\": [{}]}}\n", in_json,
                      io::json_string(text), fmt::join(answer, ", ")));
  }
  if (num_refused > 0)
    throw Error(
        ExitStatus::bad_data,
        fmt::format("{}: {} of {} prompts were not continued", file, num_refused, prompts.size()),
        Met::by_every_rank);
}

}  // namespace

ExitStatus generate(parallel::MpiSession& session, config::Parameters& parameters, bool dry_run) {
  TrainedModel trained(session, parameters);
  const Language language(trained);
  if (dry_run) return ExitStatus::ok;  // model and tokenizer can be read
  const std::vector<Prompt> prompts = all_prompts(parameters, session);
  if (parameters.generate.prompts.empty())
    answer_person(trained, language, prompts.front().text);
  else
    answer_program(trained, language, prompts);
  return ExitStatus::ok;
}

}  // namespace espalier::commands
