#pragma once
#include <cstdint>
#include <filesystem>
#include <string>
#include <vector>

#include "config/parameters.hpp"

// What a model folder says of tokens and of generation, beside the architecture.

namespace espalier::huggingface {

/// bos_token_id, eos_token_id (a number or a list) and pad_token_id of config.json, and
/// generation_config.json as text where it is there. Negative ids, which some files have for
/// "none", are none. Throws Error (bad_data) that names the file and the key.
void read_special_tokens(const std::filesystem::path& folder, config::ModelParameters& model);

/// Every id at which a text of the model ends: eos_token_id of config.json and of
/// generation_config.json, each once.
std::vector<std::uint32_t> ids_that_end_a_text(const config::ModelParameters& model);

/// temperature, top_k and top_p of a generation_config.json (its text; empty: none) that samples;
/// one with do_sample false has none to give.
void take_generation_settings(const std::string& generation_config,
                              config::GenerateParameters& generate);

/// Text of the token that ends a text, as tokenizer_config.json or special_tokens_map.json of the
/// folder names it; empty: neither does.
std::string eos_token_of(const std::filesystem::path& folder);

}  // namespace espalier::huggingface
