#include <fmt/core.h>

#include <array>

#include "tokenizer/json_parts.hpp"

namespace espalier::tokenizer {
namespace {

using nlohmann::json;

struct BehaviorName {
  const char* name;
  SplitBehavior behavior;
};
constexpr std::array<BehaviorName, 5> kBehaviors = {{
    {"Isolated", SplitBehavior::isolated},
    {"Removed", SplitBehavior::removed},
    {"Contiguous", SplitBehavior::contiguous},
    {"MergedWithPrevious", SplitBehavior::merged_with_previous},
    {"MergedWithNext", SplitBehavior::merged_with_next},
}};

class PreTokenizerReader {
 public:
  PreTokenizerReader(Definition& definition, const Refuse& refuse)
      : definition_(definition), refuse_(refuse) {}

  bool read(const json& pre_tokenizer) {
    if (!pre_tokenizer.is_null()) read_part(pre_tokenizer);
    return has_bytes_;
  }

 private:
  void read_part(const json& part) {
    const std::string type = type_of(part);
    if (has_bytes_)
      refuse_(fmt::format("the pre_tokenizer {} after ByteLevel is not supported", type));
    if (type == "\"Sequence\"" && part.contains("pretokenizers")) {
      for (const json& inner : part["pretokenizers"]) read_part(inner);
    } else if (type == "\"Split\"") {
      read_split(part);
    } else if (type == "\"Digits\"") {
      definition_.splits.push_back({.kind = SplitStep::Kind::digits,
                                    .behavior = member(part, "individual_digits", false)
                                                    ? SplitBehavior::isolated
                                                    : SplitBehavior::contiguous});
    } else if (type == "\"ByteLevel\"") {
      has_bytes_ = true;
      if (member(part, "add_prefix_space", true))
        set_prefix("ByteLevel with add_prefix_space", {" ", PrefixMark::Scheme::always});
      if (member(part, "use_regex", true))
        definition_.splits.push_back({.scanner = PreTokenizer::gpt2});
    } else if (type == "\"Metaspace\"") {
      read_metaspace(part);
    } else {
      refuse_(
          fmt::format("the pre_tokenizer {} is not supported (Split, Digits, ByteLevel, "
                      "Metaspace and sequences of them are)",
                      type));
    }
  }

  /// It is put before the pieces of the step before; only before the whole text is that done here.
  void set_prefix(const char* what, PrefixMark prefix) {
    if (!definition_.splits.empty() || !definition_.prefix.mark.empty())
      refuse_(fmt::format("pre_tokenizer: {} after another one is not supported", what));
    definition_.prefix = std::move(prefix);
  }

  void read_metaspace(const json& part) {
    const auto mark = member<std::string>(part, "replacement", "\u2581");
    const auto scheme = part.contains("prepend_scheme")
                            ? member<std::string>(part, "prepend_scheme", "always")
                        : member(part, "add_prefix_space", true) ? "always"
                                                                 : "never";
    if (mark.empty() || (scheme != "always" && scheme != "first" && scheme != "never"))
      refuse_(
          fmt::format("pre_tokenizer: Metaspace with replacement \"{}\" and prepend_scheme "
                      "\"{}\" is not supported",
                      mark, scheme));
    set_prefix("Metaspace", {mark, scheme == "always"  ? PrefixMark::Scheme::always
                                   : scheme == "first" ? PrefixMark::Scheme::first
                                                       : PrefixMark::Scheme::never});
    if (member(part, "split", true))
      add_expression(expression_of(mark), SplitBehavior::merged_with_next, /*invert=*/false);
  }

  void read_split(const json& split) {
    const json pattern = split.value("pattern", json::object());
    const json regex = pattern.is_object() ? pattern.value("Regex", json()) : json();
    const json text = pattern.is_object() ? pattern.value("String", json()) : json();
    if (!regex.is_string() && !text.is_string())
      refuse_("pre_tokenizer: Split has neither pattern.Regex nor pattern.String");
    const auto named = member<std::string>(split, "behavior", "");
    const auto* behavior = kBehaviors.begin();
    while (behavior != kBehaviors.end() && behavior->name != named) ++behavior;
    if (behavior == kBehaviors.end())
      refuse_(fmt::format("pre_tokenizer: Split with behavior \"{}\" is not supported", named));
    const bool invert = member(split, "invert", false);
    if (regex.is_string()) {
      const auto& expression = regex.get_ref<const std::string&>();
      const auto known = pre_tokenizer_from_regex(expression);
      // These match every character, so that nothing lies between their matches.
      const bool keeps_matches =
          behavior->behavior == (invert ? SplitBehavior::removed : SplitBehavior::isolated);
      if (known && keeps_matches) return definition_.splits.push_back({.scanner = *known});
      return add_expression(expression, behavior->behavior, invert);
    }
    add_expression(expression_of(text.get_ref<const std::string&>()), behavior->behavior, invert);
  }

  void add_expression(const std::string& expression, SplitBehavior behavior, bool invert) {
    try {
      definition_.splits.push_back({.kind = SplitStep::Kind::regex,
                                    .regex = std::make_shared<Regex>(expression),
                                    .behavior = behavior,
                                    .invert = invert,
                                    .expression = expression});
    } catch (const UnsupportedExpression& error) {
      refuse_(fmt::format("the pre_tokenizer's expression is not supported, because of {}: {}",
                          error.what(), expression));
    }
  }

  Definition& definition_;
  const Refuse& refuse_;
  bool has_bytes_ = false;
};

}  // namespace

bool read_pre_tokenizer(const json& pre_tokenizer, Definition& definition, const Refuse& refuse) {
  return PreTokenizerReader(definition, refuse).read(pre_tokenizer);
}

}  // namespace espalier::tokenizer
