#include <algorithm>
#include <cmath>
#include <cstdio>
#include <iostream>
#include <iterator>
#include <numeric>

#include "base/log.hpp"
#include "base/random.hpp"
#include "commands/commands.hpp"
#include "commands/trained_model.hpp"
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

std::string read_prompt(const config::GenerateParameters& p, parallel::MpiSession& session) {
  std::string prompt = p.prompt;
  if (prompt == "-" && session.rank() == 0)
    prompt.assign(std::istreambuf_iterator<char>(std::cin), {});
  return session.world().broadcast(prompt, 0);
}

}  // namespace

ExitStatus generate(parallel::MpiSession& session, config::Parameters& parameters, bool dry_run) {
  const config::GenerateParameters& p = parameters.generate;
  TrainedModel trained(session, parameters, p.checkpoint);
  const auto tokenizer = trained.open_tokenizer();
  if (dry_run) return ExitStatus::ok;  // model and tokenizer can be read
  std::vector<std::uint32_t> ids = tokenizer.encode(read_prompt(p, session));
  const std::string prompt_text = tokenizer.decode(ids);
  // A text starts after a document separator, as in training.
  ids.insert(ids.begin(), tokenizer.end_of_text());

  require(static_cast<std::int64_t>(ids.size()) + p.max_new_tokens <=
              trained.architecture.max_positions,
          ExitStatus::bad_configuration,
          "prompt ({} tokens) and generate.max_new_tokens = {} are longer than "
          "model.max_position_embeddings = {}; ask for less",
          ids.size(), p.max_new_tokens, trained.architecture.max_positions);
  device::Context& context = trained.context;
  const std::int64_t max_tokens = static_cast<std::int64_t>(ids.size()) + p.max_new_tokens;
  const auto layout = [&](device::Arena& arena) {
    return model::Decoder(trained.architecture, *trained.weights, trained.dtype, max_tokens,
                          context, trained.communicators, arena);
  };
  device::Arena plan = device::Arena::planning("decoder");
  layout(plan);
  device::Arena arena = device::Arena::backed("decoder", plan.used_bytes());
  model::Decoder decoder = layout(arena);

  const bool prints = session.rank() == 0;
  if (prints) std::fwrite(prompt_text.data(), 1, prompt_text.size(), stdout);
  const RandomStream stream(static_cast<std::uint64_t>(p.seed), "sampling");
  std::span<const float> logits = decoder.append(ids);
  for (std::int64_t i = 0; i < p.max_new_tokens; ++i) {
    // Rows past the tokenizer are padding of the embedding: they have no text.
    const std::uint32_t id =
        pick(logits.first(std::min<std::size_t>(logits.size(), tokenizer.size())), p,
             stream.uniform(static_cast<std::uint64_t>(i)));
    if (id == tokenizer.end_of_text()) break;
    const std::string piece = tokenizer.decode({&id, 1});
    if (prints) {
      std::fwrite(piece.data(), 1, piece.size(), stdout);
      std::fflush(stdout);
    }
    if (i + 1 < p.max_new_tokens) logits = decoder.append({&id, 1});
  }
  if (prints) std::fputc('\n', stdout);
  return ExitStatus::ok;
}

}  // namespace espalier::commands
