#pragma once
#include <fmt/core.h>

#include <cstdint>
#include <string>
#include <vector>

#include "parallel/layout/shard_map.hpp"

namespace espalier::io {

/// Where a row of the tensor table, or a part of one, lies in a file with Hugging Face's names and
/// shapes: parallel::HuggingFacePlace with everything filled in.
struct FilePlace {
  std::string name;
  bool transposed;
  std::int64_t offset;              ///< of our first row among the rows (transposed: columns)
  std::int64_t cols;                ///< elements of a row in the file
  std::vector<std::int64_t> shape;  ///< of the tensor in the file
  std::int64_t first_row = 0;       ///< of ours that it holds
  std::int64_t num_rows = 0;
};

/// The one tensor that holds the row of the table, maybe beside others. Experts lie one after
/// another, (E, rows of an expert, cols), as transformers 5 has them in memory.
inline FilePlace place_of(const parallel::TensorSpec& spec) {
  const parallel::HuggingFacePlace& place = spec.place;
  const std::int64_t total = place.total_rows > 0 ? place.total_rows : spec.rows;
  FilePlace result{.name = place.name.empty() ? spec.name : place.name,
                   .transposed = place.transposed && !spec.is_vector,
                   .offset = place.offset,
                   .cols = spec.cols,
                   .shape = {},
                   .num_rows = spec.rows};
  if (!place.expert_parts.empty()) {
    result.shape = {spec.num_experts, spec.rows / spec.num_experts, spec.cols};
  } else if (spec.is_vector) {
    result.shape = {total};
  } else if (result.transposed) {
    result.shape = {spec.cols, total};
    result.cols = total;
  } else {
    result.shape = {total, spec.cols};
  }
  return result;
}

/// The tensors that hold the row of the table in the files that are written, and that transformers
/// 4 and 5 both read: each matrix of each expert is one, in the order of our rows. Of everything
/// else place_of.
inline std::vector<FilePlace> separate_places_of(const parallel::TensorSpec& spec) {
  const std::vector<std::string>& parts = spec.place.expert_parts;
  if (parts.empty()) return {place_of(spec)};
  const std::int64_t rows =
      spec.rows / (spec.num_experts * static_cast<std::int64_t>(parts.size()));
  std::vector<FilePlace> places;
  places.reserve(static_cast<std::size_t>(spec.num_experts) * parts.size());
  for (std::int64_t expert = 0; expert < spec.num_experts; ++expert)
    for (const std::string& part : parts)
      places.push_back({.name = fmt::format(fmt::runtime(part), expert),
                        .transposed = false,
                        .offset = 0,
                        .cols = spec.cols,
                        .shape = {rows, spec.cols},
                        .first_row = rows * static_cast<std::int64_t>(places.size()),
                        .num_rows = rows});
  return places;
}

}  // namespace espalier::io
