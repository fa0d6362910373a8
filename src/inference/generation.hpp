#pragma once
#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "inference/trained_model.hpp"
#include "tokenizer/tokenizer.hpp"

namespace espalier::inference {

/// What a tokenizer and the tables of the input make of the ends of a text.
struct Language {
  explicit Language(const TrainedModel& trained);
  bool ends_a_text(std::uint32_t id) const;

  tokenizer::Tokenizer tokenizer;
  std::vector<std::uint32_t> prefix;  ///< in front of a prompt
  std::vector<std::uint32_t> ends;    ///< a text is over before one of them
  std::vector<std::uint32_t> tokens;  ///< ids that the tokenizer has and the model too, ascending
};

/// Why a prompt of so many tokens, with its prefix, cannot be continued; empty: it can.
std::string obstacle(const TrainedModel& trained, std::size_t num_tokens);

/// Continues `ids`, the prompt with this number, by the table [generate] of the input, and hands
/// every new token to `sink` as it comes. Every prompt has random numbers of its own. Collective.
/// Throws Error (internal) when the logits are not finite.
void continue_text(TrainedModel& trained, const Language& language,
                   const std::vector<std::uint32_t>& ids, std::int64_t number,
                   const std::function<void(std::uint32_t)>& sink);

}  // namespace espalier::inference
