#pragma once
#include <cstdint>
#include <string>
#include <vector>

#include "parallel/layout/shard_map.hpp"

namespace espalier::io {

/// Where a row of the tensor table lies in a file with Hugging Face's names and shapes:
/// parallel::HuggingFacePlace with everything filled in.
struct FilePlace {
  std::string name;
  bool transposed;
  std::int64_t offset;              ///< of our first row among the rows (transposed: columns)
  std::int64_t cols;                ///< elements of a row in the file
  std::vector<std::int64_t> shape;  ///< of the tensor in the file
};

inline FilePlace place_of(const parallel::TensorSpec& spec) {
  const parallel::HuggingFacePlace& place = spec.place;
  const std::int64_t total = place.total_rows > 0 ? place.total_rows : spec.rows;
  FilePlace result{place.name.empty() ? spec.name : place.name,
                   place.transposed && !spec.is_vector,
                   place.offset,
                   spec.cols,
                   {}};
  if (spec.is_vector) {
    result.shape = {total};
  } else if (result.transposed) {
    result.shape = {spec.cols, total};
    result.cols = total;
  } else {
    result.shape = {total, spec.cols};
  }
  return result;
}

}  // namespace espalier::io
