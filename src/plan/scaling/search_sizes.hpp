#pragma once
#include <cstdint>
#include <vector>

#include "config/problems.hpp"

namespace espalier::plan {

/// A list of sizes, or the range that stands in its place.
struct Sizes {
  const char* list_key;   ///< "search.layers"
  const char* range_key;  ///< "search.layers"_min
  const std::vector<std::int64_t>& list;
  std::int64_t min, max, step;
  std::int64_t most;  ///< what the model allows
};
Sizes layers_of(const config::SearchParameters& search);
Sizes hidden_sizes_of(const config::SearchParameters& search);

std::int64_t count_of(const Sizes& sizes);
std::vector<std::int64_t> numbers_of(const Sizes& sizes);

// Whether there are such sizes, and all of them may be; what is wrong is added to the problems.
bool check_sizes(const Sizes& sizes, config::Problems& problems);
bool check_head_dims(const config::SearchParameters& search, config::Problems& problems);
void check_intermediate(const config::SearchParameters& search, std::int64_t largest_hidden,
                        config::Problems& problems);
/// Whether a hidden size and a head size make heads that the key and value heads divide; says what
/// is nearest to that where none do.
void check_heads(const std::vector<std::int64_t>& hidden_sizes,
                 const config::SearchParameters& search, std::int64_t kv_heads,
                 config::Problems& problems);

}  // namespace espalier::plan
