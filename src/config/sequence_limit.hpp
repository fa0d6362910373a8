#pragma once
#include <string>

#include "config/model_parameters.hpp"

namespace espalier::config {

/// longest_sequence in words, for messages: "model.max_position_embeddings = 128", and what
/// model.rope_factor makes of it where that is more.
std::string describe_longest_sequence(const ModelParameters& model);

}  // namespace espalier::config
