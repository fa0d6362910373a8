#include <fmt/core.h>

#include "tokenizer/json_parts.hpp"

namespace espalier::tokenizer {

using nlohmann::json;

std::string type_of(const json& part) {
  return part.is_object() ? part.value("type", json("?")).dump() : part.dump();
}

namespace {

/// "pattern" of a Replace: {"String": ...} or {"Regex": ...}.
void read_replace(const json& replace, Definition& definition, const Refuse& refuse) {
  const json pattern = replace.value("pattern", json());
  NormalizerStep step{.kind = NormalizerStep::Kind::replace,
                      .content = member<std::string>(replace, "content", "")};
  const bool is_regex = pattern.is_object() && pattern.contains("Regex");
  if (!pattern.is_object() || (!is_regex && !pattern.contains("String")))
    refuse("normalizer: Replace has no pattern");
  step.pattern = pattern[is_regex ? "Regex" : "String"].get<std::string>();
  if (step.pattern.empty()) refuse("normalizer: Replace with an empty pattern is not supported");
  if (is_regex) try {
      step.regex = std::make_shared<Regex>(step.pattern);
    } catch (const UnsupportedExpression& error) {
      refuse(fmt::format("normalizer: Replace's expression {} is not supported: {}", step.pattern,
                         error.what()));
    }
  definition.normalizer.push_back(std::move(step));
}

}  // namespace

void read_normalizer(const json& normalizer, Definition& definition, const Refuse& refuse) {
  if (normalizer.is_null()) return;
  const std::string type = type_of(normalizer);
  if (type == "\"NFC\"") {
    // Twice in a row is as good as once.
    auto& steps = definition.normalizer;
    if (steps.empty() || steps.back().kind != NormalizerStep::Kind::nfc)
      steps.push_back({.kind = NormalizerStep::Kind::nfc});
  } else if (type == "\"Prepend\"") {
    definition.normalizer.push_back({.kind = NormalizerStep::Kind::prepend,
                                     .content = member<std::string>(normalizer, "prepend", "")});
  } else if (type == "\"Replace\"") {
    read_replace(normalizer, definition, refuse);
  } else if (type == "\"Sequence\"" && normalizer.contains("normalizers")) {
    for (const json& part : normalizer["normalizers"]) read_normalizer(part, definition, refuse);
  } else {
    refuse(fmt::format(
        "the normalizer {} is not supported (NFC, Prepend, Replace and sequences of them are)",
        type));
  }
}

void read_decoder(const json& decoder, CharacterAlphabet& characters, const Refuse& refuse) {
  const auto parts = decoder.is_object() && decoder.contains("decoders") ? decoder["decoders"]
                                                                         : json::array({decoder});
  // In this order they are what happens to every token, and then to the text.
  int last = 0;
  const auto in_order = [&](int place, const std::string& type) {
    if (place < last)
      refuse(fmt::format("the decoder's {} after what must follow it is not supported", type));
    last = place;
  };
  for (const json& part : parts) {
    const std::string type = type_of(part);
    if (type == "\"Replace\"") {
      in_order(0, type);
      const json pattern = part.value("pattern", json::object());
      if (!pattern.is_object() || !pattern.value("String", json()).is_string() ||
          pattern["String"] == "")
        refuse("decoder: only Replace of a pattern.String is supported");
      characters.decoded_as.emplace_back(pattern["String"].get<std::string>(),
                                         member<std::string>(part, "content", ""));
    } else if (type == "\"Metaspace\"") {
      if (parts.size() != 1) refuse("decoder: Metaspace in a sequence is not supported");
      const auto mark = member<std::string>(part, "replacement", "\u2581");
      characters.decoded_as.emplace_back(mark, " ");
      const bool has_prefix = part.contains("prepend_scheme")
                                  ? part["prepend_scheme"] != "never"
                                  : member(part, "add_prefix_space", true);
      if (has_prefix) characters.first_without = mark;
    } else if (type == "\"ByteFallback\"") {
      in_order(1, type);
      characters.decodes_bytes = true;
    } else if (type == "\"Fuse\"") {
      in_order(2, type);
    } else if (type == "\"Strip\"" && last == 2) {
      in_order(3, type);
      if (member(part, "stop", 0) != 0) refuse("decoder: Strip with a stop is not supported");
      characters.stripped = member<std::string>(part, "content", " ");
      characters.most_stripped = member<std::size_t>(part, "start", 0);
    } else {
      refuse(
          fmt::format("the decoder {} is not supported (Metaspace, or Replace, ByteFallback, "
                      "Fuse and Strip in this order)",
                      type));
    }
  }
}

}  // namespace espalier::tokenizer
