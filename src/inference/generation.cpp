#include "inference/generation.hpp"

#include <algorithm>
#include <cmath>

#include "base/random.hpp"
#include "config/sequence_limit.hpp"
#include "huggingface/special_tokens.hpp"
#include "kernels/attention/attention_provider.hpp"
#include "model/decoder.hpp"
#include "train/document_marks.hpp"

namespace espalier::inference {
namespace {

/// The next token: greedy at temperature 0, else sampled from the top_k most likely within the
/// smallest set of probability top_p (Holtzman et al. 2020). Only ids of `tokens`, ascending, are
/// taken: rows of the embedding that no token has are padding. `u` is uniform in [0, 1).
std::uint32_t pick(std::span<const float> logits, std::span<const std::uint32_t> tokens,
                   const config::GenerateParameters& p, double u) {
  require(std::all_of(tokens.begin(), tokens.end(),
                      [&](std::uint32_t id) { return std::isfinite(logits[id]); }),
          ExitStatus::bad_numbers, "the logits of {} are not finite: its weights are broken",
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

}  // namespace

Language::Language(const TrainedModel& trained) : tokenizer(trained.open_tokenizer()) {
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

bool Language::ends_a_text(std::uint32_t id) const {
  return std::find(ends.begin(), ends.end(), id) != ends.end();
}

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

void continue_text(TrainedModel& trained, const Language& language,
                   const std::vector<std::uint32_t>& ids, std::int64_t number,
                   const std::function<void(std::uint32_t)>& sink) {
  const config::GenerateParameters& p = trained.parameters.generate;
  const std::int64_t max_tokens = static_cast<std::int64_t>(ids.size()) + p.max_new_tokens;
  const auto provider = kernels::attention_provider_from_name(trained.parameters.device.attention);
  const auto layout = [&](device::Arena& arena) {
    return model::Decoder(trained.architecture, *trained.weights, trained.dtype, max_tokens,
                          trained.rank_context.context, trained.communicators, arena, provider,
                          {.rounds_logits = trained.parameters.experts.router_dtype == "model",
                           .bias = trained.expert_bias});
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

}  // namespace espalier::inference
