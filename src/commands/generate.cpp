#include <algorithm>
#include <cmath>
#include <cstdio>
#include <functional>
#include <iostream>
#include <iterator>
#include <numeric>

#include <fmt/ranges.h>

#include "base/log.hpp"
#include "base/random.hpp"
#include "commands/commands.hpp"
#include "commands/trained_model.hpp"
#include "io/json_text.hpp"
#include "io/text_source.hpp"
#include "kernels/attention_provider.hpp"
#include "model/decoder.hpp"
#include "tokenizer/tokenizer.hpp"

namespace espalier::commands {
namespace {

/// Index of the next token: greedy at temperature 0, else sampled from the top_k most likely within
/// the smallest set of probability top_p (Holtzman et al. 2020). `u` is uniform in [0, 1).
std::uint32_t pick(std::span<const float> logits, const config::GenerateParameters& p, double u) {
  require(std::all_of(logits.begin(), logits.end(), [](float x) { return std::isfinite(x); }),
          ExitStatus::bad_data,
          "the model gives logits that are not finite: its weights are broken");
  if (p.temperature == 0.0)
    return static_cast<std::uint32_t>(std::max_element(logits.begin(), logits.end()) -
                                      logits.begin());
  std::vector<std::uint32_t> order(logits.size());
  std::iota(order.begin(), order.end(), 0U);
  // Ties are broken by id, so that every rank and every run agrees.
  std::sort(order.begin(), order.end(), [&](std::uint32_t a, std::uint32_t b) {
    return logits[a] != logits[b] ? logits[a] > logits[b] : a < b;
  });
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
std::vector<std::string> read_prompts(const config::Parameters& p, parallel::MpiSession& session) {
  std::vector<std::string> prompts;
  if (!p.generate.prompts.empty()) {
    io::TextSource source(p.generate.prompts, {.separator = "\n", .text_key = p.tokenize.text_key});
    for (std::string prompt; source.next(prompt);) prompts.push_back(prompt);
    require(!prompts.empty(), ExitStatus::bad_data, "{}: holds no prompt", p.generate.prompts);
    return prompts;
  }
  std::string prompt = p.generate.prompt;
  if (prompt == "-" && session.rank() == 0)
    prompt.assign(std::istreambuf_iterator<char>(std::cin), {});
  prompts.push_back(session.world().broadcast(prompt, 0));
  return prompts;
}

/// generate.prefix as ids.
std::vector<std::uint32_t> prefix_ids(const std::string& prefix,
                                      const tokenizer::Tokenizer& tokenizer) {
  if (prefix == "separator" || prefix == "auto") return {tokenizer.end_of_text()};
  return tokenizer.encode(prefix);
}

/// Continues `ids`, the prompt with this number, and hands every new token to `sink` as it comes.
/// Every prompt has random numbers of its own. Collective.
void continue_text(TrainedModel& trained, const tokenizer::Tokenizer& tokenizer,
                   const std::vector<std::uint32_t>& ids, std::int64_t number,
                   const std::function<void(std::uint32_t)>& sink) {
  const config::GenerateParameters& p = trained.parameters.generate;
  const std::int64_t max_tokens = static_cast<std::int64_t>(ids.size()) + p.max_new_tokens;
  require(!ids.empty(), ExitStatus::bad_configuration,
          "the prompt is empty and so is generate.prefix: there is nothing to continue");
  const std::int64_t longest = config::longest_sequence(trained.parameters.model);
  require(max_tokens <= longest, ExitStatus::bad_configuration,
          "prompt ({} tokens) and generate.max_new_tokens = {} are longer than "
          "model.max_position_embeddings = {}{}; ask for less",
          ids.size(), p.max_new_tokens, trained.architecture.max_positions,
          longest > trained.architecture.max_positions
              ? fmt::format(" and the {} tokens to which model.rope_factor stretches", longest)
              : "");
  const auto provider = kernels::attention_provider_from_name(trained.parameters.device.attention);
  const auto layout = [&](device::Arena& arena) {
    return model::Decoder(trained.architecture, *trained.weights, trained.dtype, max_tokens,
                          trained.worker.context, trained.communicators, arena, provider);
  };
  device::Arena plan = device::Arena::planning("decoder");
  layout(plan);
  device::Arena arena = device::Arena::backed("decoder", plan.used_bytes(), trained.worker.gpu);
  model::Decoder decoder = layout(arena);

  const RandomStream stream(static_cast<std::uint64_t>(p.seed),
                            fmt::format("sampling of prompt {}", number));
  std::span<const float> logits = decoder.append(ids);
  for (std::int64_t i = 0; i < p.max_new_tokens; ++i) {
    // Rows past the tokenizer are padding of the embedding: they have no text.
    const std::uint32_t id =
        pick(logits.first(std::min<std::size_t>(logits.size(), tokenizer.size())), p,
             stream.uniform(static_cast<std::uint64_t>(i)));
    if (id == tokenizer.end_of_text() && !p.ignore_end_of_text) break;
    sink(id);
    if (i + 1 < p.max_new_tokens) logits = decoder.append({&id, 1});
  }
}

void print(std::string_view text) {
  if (log::rank() != 0) return;
  std::fwrite(text.data(), 1, text.size(), stdout);
  std::fflush(stdout);
}

}  // namespace

ExitStatus generate(parallel::MpiSession& session, config::Parameters& parameters, bool dry_run) {
  TrainedModel trained(session, parameters);
  const auto tokenizer = trained.open_tokenizer();
  const std::vector<std::uint32_t> prefix = prefix_ids(parameters.generate.prefix, tokenizer);
  if (dry_run) return ExitStatus::ok;  // model and tokenizer can be read
  const bool of_file = !parameters.generate.prompts.empty();
  std::int64_t number = 0;
  for (const std::string& prompt : read_prompts(parameters, session)) {
    const std::vector<std::uint32_t> prompt_ids = tokenizer.encode(prompt);
    std::vector<std::uint32_t> ids = prefix;
    ids.insert(ids.end(), prompt_ids.begin(), prompt_ids.end());
    std::vector<std::uint32_t> answer;
    if (!of_file) print(tokenizer.decode(prompt_ids));
    continue_text(trained, tokenizer, ids, number++, [&](std::uint32_t id) {
      answer.push_back(id);
      if (!of_file) print(tokenizer.decode({&id, 1}));
    });
    // A person reads a text as it grows; a program reads lines.
    print(of_file ? fmt::format("{{\"prompt\": {}, \"text\": {}, \"tokens\": [{}]}}\n",
                                io::json_string(prompt), io::json_string(tokenizer.decode(answer)),
                                fmt::join(answer, ", "))
                  : std::string("\n"));
  }
  return ExitStatus::ok;
}

}  // namespace espalier::commands
