#include "huggingface/prompt_prefix.hpp"

#include "huggingface/strict_json.hpp"

namespace espalier::huggingface {
namespace {

using nlohmann::json;

/// Text of the special tokens before the sequence in {"single": [{"SpecialToken": {"id": "..."}},
/// ..., {"Sequence": {...}}, ...]}.
std::string of_template(const json& single) {
  std::string prefix;
  for (const json& part : single) {
    if (!part.is_object() || part.contains("Sequence")) break;
    const auto token = part.find("SpecialToken");
    if (token == part.end() || !token->is_object()) break;
    const auto id = token->find("id");
    if (id == token->end() || !id->is_string()) break;
    prefix += id->get<std::string>();
  }
  return prefix;
}

std::string of_processor(const json& processor, int depth) {
  if (!processor.is_object() || depth > 4) return {};
  if (const auto single = processor.find("single"); single != processor.end())
    return single->is_array() ? of_template(*single) : std::string();
  std::string prefix;
  if (const auto parts = processor.find("processors"); parts != processor.end())
    for (const json& part : *parts) prefix += of_processor(part, depth + 1);
  return prefix;
}

}  // namespace

std::string prompt_prefix(const std::filesystem::path& tokenizer_json) {
  std::error_code ignored;
  if (!std::filesystem::is_regular_file(tokenizer_json, ignored)) return {};
  const json document = parse_object(tokenizer_json, read_small_file(tokenizer_json));
  const auto processor = document.find("post_processor");
  return processor == document.end() ? std::string() : of_processor(*processor, 0);
}

}  // namespace espalier::huggingface
