#pragma once
#include <filesystem>
#include <string>

#include "io/checkpoint.hpp"

namespace espalier::commands {

/// Prints what `path` holds: a checkpoint folder, a directory of checkpoints or a run directory
/// (its newest checkpoint), a token shard (.h5), or a tokenizer (.json, .tiktoken). All checksums
/// are looked at. Throws Error (bad_data) for anything else, or damaged.
void inspect(const std::string& path);

/// The checkpoint that is meant by `path`. Throws Error (bad_data): none.
std::filesystem::path require_checkpoint(const std::string& path);

/// "151936 x 4096", or one number of a vector.
std::string shape_of(const io::CheckpointReader::TensorShape& tensor);

// Of checkpoints, tensor by tensor in blocks of rows: memory is that of a block, whatever grid and
// layout wrote them.

/// Prints a line per tensor and field, "<32 digits>  <field>/<tensor>", sorted as the checkpoint
/// has them: the 128-bit XXH3 of its elements (f32, little-endian) in row-major order.
void print_hashes(const std::filesystem::path& folder);

/// Prints where two checkpoints differ and returns whether they do: tensors or fields that only one
/// has, other shapes, and of the others how many elements have other bits and by how much.
bool print_difference(const std::filesystem::path& a, const std::filesystem::path& b);

}  // namespace espalier::commands
