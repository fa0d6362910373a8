#pragma once
#include <cstdint>
#include <filesystem>
#include <optional>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "config/parameters.hpp"

namespace espalier::huggingface {

/// config.json in our keys. Keys that it leaves out have the defaults of transformers' class for
/// the family. Throws one Error (bad_data) with a line per key that would change the numbers and
/// that this program does not compute; `file` is for messages.
config::ModelParameters read_config(const std::filesystem::path& file, std::string_view text);

/// What an exported folder says beside the sizes.
struct ExportedConfig {
  config::ModelParameters model;  ///< resolved
  std::string dtype;              ///< "float32", "bfloat16" or "float16"
  /// Id of the document separator, which ends a sequence and pads; nothing: not known.
  std::optional<std::uint32_t> separator = {};
  /// Id of the token that a text begins with; nothing: none.
  std::optional<std::uint32_t> begin = {};
};
/// config.json that transformers 4 and 5 read alike: rope_theta at the top level (4) and in
/// rope_parameters (5), torch_dtype (4) and dtype (5), num_experts (4) and num_local_experts (5).
std::string write_config(const ExportedConfig& config);
std::string write_generation_config(const ExportedConfig& config);

/// config::changes_of_model as text, "hidden_size: 64 there, 128 here"; empty: none. Keys in
/// `allowed`, each written as "model.rope_theta", are left out.
std::string differences(const config::ModelParameters& there, const config::ModelParameters& here,
                        std::span<const std::string> allowed = {});

}  // namespace espalier::huggingface
