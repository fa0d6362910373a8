#include "huggingface/special_tokens.hpp"

#include <algorithm>

#include "base/error.hpp"
#include "huggingface/strict_json.hpp"

namespace espalier::huggingface {
namespace {

using nlohmann::json;
namespace fs = std::filesystem;

constexpr const char* kGenerationConfig = "generation_config.json";
constexpr std::size_t kMostBytes = std::size_t{64} << 10;  // of text kept in every checkpoint
constexpr std::uint64_t kMostIds = std::uint64_t{1} << 32;

bool is_id(const json& value) {
  return value.is_number_unsigned() ? value.get<std::uint64_t>() < kMostIds
                                    : value.is_number_integer();
}

/// The id of a key; -1: none.
std::int64_t id_of(const fs::path& file, const json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end() || found->is_null()) return -1;
  require(is_id(*found), ExitStatus::bad_data, "{}: {} = {} is not the id of a token",
          file.string(), key, shown(*found));
  return std::max<std::int64_t>(found->get<std::int64_t>(), -1);
}

/// The ids of a key that has one or a list of them.
std::vector<std::int64_t> ids_of(const fs::path& file, const json& object, const char* key) {
  const auto found = object.find(key);
  if (found == object.end() || found->is_null()) return {};
  const json list = found->is_array() ? *found : json::array({*found});
  std::vector<std::int64_t> ids;
  for (const json& id : list) {
    require(is_id(id), ExitStatus::bad_data, "{}: {} = {} is not the id of a token, nor a list",
            file.string(), key, shown(*found));
    if (id >= 0) ids.push_back(id.get<std::int64_t>());
  }
  return ids;
}

json parsed(const std::string& generation_config) {
  return parse_object(kGenerationConfig, generation_config);
}

}  // namespace

void read_special_tokens(const fs::path& folder, config::ModelParameters& model) {
  const fs::path file = folder / "config.json";
  const json root = parse_object(file, read_small_file(file));
  model.bos_token_id = id_of(file, root, "bos_token_id");
  model.eos_token_id = ids_of(file, root, "eos_token_id");
  model.pad_token_id = id_of(file, root, "pad_token_id");
  const fs::path generation = folder / kGenerationConfig;
  std::error_code ignored;
  if (!fs::exists(generation, ignored)) return;
  std::string text = read_small_file(generation);
  require(text.size() <= kMostBytes, ExitStatus::bad_data, "{}: has {} bytes, at most {} are kept",
          generation.string(), text.size(), kMostBytes);
  ids_of(generation, parse_object(generation, text), "eos_token_id");
  model.generation_config = std::move(text);
}

std::vector<std::uint32_t> ids_that_end_a_text(const config::ModelParameters& model) {
  std::vector<std::int64_t> ids = model.eos_token_id;
  if (!model.generation_config.empty())
    for (const std::int64_t id :
         ids_of(kGenerationConfig, parsed(model.generation_config), "eos_token_id"))
      ids.push_back(id);
  std::vector<std::uint32_t> result;
  for (const std::int64_t id : ids)
    if (std::find(result.begin(), result.end(), id) == result.end())
      result.push_back(static_cast<std::uint32_t>(id));
  return result;
}

void take_generation_settings(const std::string& generation_config,
                              config::GenerateParameters& generate) {
  if (generation_config.empty()) return;
  const json root = parsed(generation_config);
  if (root.value("do_sample", json(false)) != true) return;
  const auto number = [&](const char* key) {
    const auto found = root.find(key);
    return found != root.end() && found->is_number() ? found->get<double>() : -1.0;
  };
  if (const double t = number("temperature"); t > 0.0 && t <= 100.0) generate.temperature = t;
  if (const double k = number("top_k"); k >= 0.0 && k < 4.0e9)
    generate.top_k = static_cast<std::int64_t>(k);
  if (const double p = number("top_p"); p > 0.0 && p <= 1.0) generate.top_p = p;
}

std::string eos_token_of(const fs::path& folder) {
  for (const char* name : {"tokenizer_config.json", "special_tokens_map.json"}) {
    const fs::path file = folder / name;
    std::error_code ignored;
    if (!fs::is_regular_file(file, ignored)) continue;
    const json root = parse_object(file, read_small_file(file));
    json token = root.value("eos_token", json());
    if (token.is_object()) token = token.value("content", json());
    if (token.is_string()) return token.get<std::string>();
  }
  return {};
}

}  // namespace espalier::huggingface
