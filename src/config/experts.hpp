#pragma once
#include <cstdint>
#include <string_view>

#include "config/parameters.hpp"

// What [model] says of experts, before there is an architecture.

namespace espalier::config {

/// Whether a key of [model] is about experts, and so without meaning for a dense family.
bool is_key_of_experts(std::string_view key);
bool has_experts(const ModelParameters& model);
/// Whether a block, from 0, has experts in place of its MLP.
bool is_sparse_block(const ModelParameters& model, std::int64_t layer);
std::int64_t num_sparse_blocks(const ModelParameters& model);
/// Whether some block has a dense MLP, for which alone intermediate_size has a meaning.
bool has_dense_blocks(const ModelParameters& model);

}  // namespace espalier::config
