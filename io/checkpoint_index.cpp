#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <iterator>
#include <string_view>
#include <unordered_map>

#include "base/error.hpp"
#include "io/checkpoint_format.hpp"

// The index of rectangles as text: one line per shard,
//   name rows cols is_vector row_begin row_end col_begin col_end

namespace espalier::io {

namespace {

std::string_view next_word(std::string_view& line) {
  const std::size_t end = line.find(' ');
  const std::string_view word = line.substr(0, end);
  line.remove_prefix(end == std::string_view::npos ? line.size() : end + 1);
  return word;
}

std::int64_t next_number(std::string_view& line) {
  const std::string_view word = next_word(line);
  std::int64_t value = 0;
  const auto [end, error] = std::from_chars(word.data(), word.data() + word.size(), value);
  ESPALIER_ASSERT(error == std::errc{} && end == word.data() + word.size(),
                  "\"{}\" in a checkpoint index is no number", word);
  return value;
}

}  // namespace

std::string CheckpointWriter::encode_index(std::span<const CheckpointShard> shards) {
  std::string text;
  for (const CheckpointShard& shard : shards) {
    const parallel::Rectangle& r = shard.rectangle;
    if (r.empty()) continue;
    // '/' would make groups of a name, '%' is a pattern in virtual datasets, ' ' ends it here.
    ESPALIER_ASSERT(!shard.name.empty() && shard.name.find_first_of(" \n/%") == std::string::npos,
                    "\"{}\" cannot name a dataset", shard.name);
    fmt::format_to(std::back_inserter(text), "{} {} {} {} {} {} {} {}\n", shard.name,
                   shard.global_rows, shard.global_cols, shard.is_vector ? 1 : 0, r.row_begin,
                   r.row_end, r.col_begin, r.col_end);
  }
  return text;
}

CheckpointIndex CheckpointIndex::decode(std::span<const std::string> indices) {
  CheckpointIndex index;
  std::unordered_map<std::string, std::int64_t> known;
  std::vector<std::int64_t> covered;
  for (std::size_t rank = 0; rank < indices.size(); ++rank) {
    std::string_view rest = indices[rank];
    for (std::int64_t ordinal = 0; !rest.empty(); ++ordinal) {
      std::string_view line = rest.substr(0, rest.find('\n'));
      rest.remove_prefix(std::min(rest.size(), line.size() + 1));
      const std::string name(next_word(line));
      const std::int64_t rows = next_number(line);
      const std::int64_t cols = next_number(line);
      const bool is_vector = next_number(line) != 0;
      parallel::Rectangle r;
      r.row_begin = next_number(line);
      r.row_end = next_number(line);
      r.col_begin = next_number(line);
      r.col_end = next_number(line);

      const auto [place, is_new] =
          known.try_emplace(name, static_cast<std::int64_t>(index.tensors.size()));
      if (is_new) {
        index.tensors.push_back({name, rows, cols, is_vector});
        covered.push_back(0);
      }
      const auto tensor = static_cast<std::size_t>(place->second);
      ESPALIER_ASSERT(index.tensors[tensor].rows == rows && index.tensors[tensor].cols == cols &&
                          index.tensors[tensor].is_vector == is_vector,
                      "rank {} gives {} another shape than the ranks before it", rank, name);
      ESPALIER_ASSERT(!r.empty() && r.row_begin >= 0 && r.col_begin >= 0 && r.row_end <= rows &&
                          r.col_end <= cols && (!is_vector || cols == 1),
                      "{}: rows {}..{}, columns {}..{} are not in {} x {}", name, r.row_begin,
                      r.row_end, r.col_begin, r.col_end, rows, cols);
      covered[tensor] += r.size();
      index.entries.push_back({place->second, static_cast<int>(rank), ordinal, r});
    }
  }
  for (std::size_t i = 0; i < covered.size(); ++i) {
    const CheckpointReader::TensorShape& tensor = index.tensors[i];
    ESPALIER_ASSERT(covered[i] == tensor.rows * tensor.cols,
                    "the ranks write {} elements of {}, which has {} x {}", covered[i], tensor.name,
                    tensor.rows, tensor.cols);
  }
  return index;
}

}  // namespace espalier::io
