#pragma once
#include <filesystem>
#include <span>

#include "parallel/layout/shard_map.hpp"

namespace espalier::io {

/// An HDF5 file of whole tensors: one f32 dataset per tensor with Hugging Face's name and global
/// shape (io::place_of; experts of a block together). Made by one rank, then filled by all, one
/// after another.

/// Creates the file with a dataset for every tensor of `table`, or replaces the one that is there.
/// Throws Error (io_error).
void create_tensor_file(const std::filesystem::path& path,
                        std::span<const parallel::TensorSpec> table);

/// A rectangle of a tensor of the table: `values` (rectangle.rows(), rectangle.cols()) f32 with
/// `stride` elements from row to row.
struct TensorPart {
  const parallel::TensorSpec* spec;
  parallel::Rectangle rectangle;
  const float* values;
  std::int64_t stride;
};
/// Writes the parts into a file that exists. No other rank has it open. Throws Error (io_error).
void write_tensor_parts(const std::filesystem::path& path, std::span<const TensorPart> parts);

}  // namespace espalier::io
