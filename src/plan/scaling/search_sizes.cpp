// The sizes that a search goes through: lists or ranges, and what can be wrong with them.
#include "plan/scaling/search_sizes.hpp"

#include <algorithm>
#include <limits>
#include <set>

namespace espalier::plan {

using config::Problems;
using config::SearchParameters;

Sizes layers_of(const SearchParameters& s) {
  return {.list_key = "search.layers",
          .range_key = "search.layers",
          .list = s.layers,
          .min = s.layers_min,
          .max = s.layers_max,
          .step = s.layers_step,
          .most = 10000};
}

Sizes hidden_sizes_of(const SearchParameters& s) {
  return {.list_key = "search.hidden_sizes",
          .range_key = "search.hidden",
          .list = s.hidden_sizes,
          .min = s.hidden_min,
          .max = s.hidden_max,
          .step = s.hidden_step,
          .most = 1 << 20};
}

std::int64_t count_of(const Sizes& s) {
  return s.list.empty() ? (s.max - s.min) / s.step + 1 : std::ssize(s.list);
}

/// Whether there are sizes, and all may be.
bool check_sizes(const Sizes& s, Problems& problems) {
  const bool has_range = s.min != 0 || s.max != 0;
  if (!s.list.empty() && has_range) {
    problems.add("{} and {}_min and _max are both set: remove one of them", s.list_key,
                 s.range_key);
    return false;
  }
  if (s.list.empty() && !has_range) {
    problems.add("neither {} nor {}_min and _max are set: name a list, or a range", s.list_key,
                 s.range_key);
    return false;
  }
  if (s.list.empty()) {
    if (s.min > s.max)
      problems.add("{0}_min = {1} is above {0}_max = {2}: no number is in this range; {3}",
                   s.range_key, s.min, s.max,
                   s.max == 0 ? fmt::format("set {}_max", s.range_key) : "exchange them");
    else if (s.min < 1 || s.max > s.most)
      problems.add("{0}_min and _max = {1} to {2}: a model has 1 to {3}", s.range_key, s.min, s.max,
                   s.most);
    else
      return true;
    return false;
  }
  std::set<std::int64_t> seen;
  for (const std::int64_t size : s.list) {
    if (size < 1 || size > s.most)
      problems.add("{} names {}: a model has 1 to {}", s.list_key, size, s.most);
    else if (!seen.insert(size).second)
      problems.add("{} names {} twice: leave one out", s.list_key, size);
    else
      continue;
    return false;
  }
  return true;
}

std::vector<std::int64_t> numbers_of(const Sizes& s) {
  if (!s.list.empty()) return s.list;
  std::vector<std::int64_t> numbers;
  for (std::int64_t n = s.min; n <= s.max; n += s.step) numbers.push_back(n);
  return numbers;
}

bool check_head_dims(const SearchParameters& s, Problems& problems) {
  if (s.head_dims.empty()) problems.add("search.head_dims is empty: name head sizes, as [64, 128]");
  std::set<std::int64_t> seen;
  for (const std::int64_t size : s.head_dims) {
    if (size < 2 || size > 1024 || size % 2 != 0)
      problems.add("search.head_dims names {}: a head size is an even number from 2 to 1024", size);
    else if (!seen.insert(size).second)
      problems.add("search.head_dims names {} twice: leave one out", size);
    else
      continue;
    return false;
  }
  return !s.head_dims.empty();
}

/// F of the smallest and the largest hidden size must be what a model may have.
void check_intermediate(const SearchParameters& s, std::int64_t largest, Problems& problems) {
  constexpr double kMost = 1 << 22;
  if (s.intermediate_ratio <= 0.0)
    problems.add(
        "search.intermediate_ratio = {} makes no MLP: usual are 3 (Qwen3), 3.5 (Llama 3) and 4",
        s.intermediate_ratio);
  else if (s.intermediate_ratio * static_cast<double>(largest) > kMost)
    problems.add(
        "search.intermediate_ratio = {} makes an intermediate size of {:.4g} at hidden size {}, "
        "and a model has at most {}: lower it",
        s.intermediate_ratio, s.intermediate_ratio * static_cast<double>(largest), largest, kMost);
  if (static_cast<double>(s.intermediate_multiple) > kMost)
    problems.add("search.intermediate_multiple = {} is more than any model has: at most {}",
                 s.intermediate_multiple, kMost);
}

// Heads -------------------------------------------------------------------------------------------

namespace {

bool is_shape(std::int64_t hidden, std::int64_t head_dim, std::int64_t kv_heads) {
  return hidden % head_dim == 0 && (kv_heads == 0 || hidden / head_dim % kv_heads == 0);
}

/// The multiple of `unit` nearest to one of the numbers.
std::int64_t nearest_multiple(const std::vector<std::int64_t>& numbers, std::int64_t unit) {
  std::int64_t best = unit, best_distance = std::numeric_limits<std::int64_t>::max();
  for (const std::int64_t n : numbers)
    for (const std::int64_t candidate : {n / unit * unit, (n / unit + 1) * unit}) {
      const std::int64_t distance = std::abs(candidate - n);
      if (candidate > 0 && distance < best_distance) best = candidate, best_distance = distance;
    }
  return best;
}

/// The head size nearest to one of the list that fits one of the hidden sizes; 0: there is none.
std::int64_t nearest_head_dim(const std::vector<std::int64_t>& hidden_sizes,
                              const std::vector<std::int64_t>& head_dims, std::int64_t kv_heads) {
  std::int64_t best = 0, best_distance = std::numeric_limits<std::int64_t>::max();
  for (std::int64_t size = 2; size <= 1024; size += 2) {
    if (std::none_of(hidden_sizes.begin(), hidden_sizes.end(),
                     [&](std::int64_t hidden) { return is_shape(hidden, size, kv_heads); }))
      continue;
    for (const std::int64_t wanted : head_dims)
      if (std::abs(wanted - size) < best_distance)
        best = size, best_distance = std::abs(wanted - size);
  }
  return best;
}

}  // namespace

void check_heads(const std::vector<std::int64_t>& hidden_sizes, const SearchParameters& s,
                 std::int64_t kv_heads, Problems& problems) {
  for (const std::int64_t hidden : hidden_sizes)
    for (const std::int64_t head_dim : s.head_dims)
      if (is_shape(hidden, head_dim, kv_heads)) return;
  std::int64_t hidden = 0, of_head_dim = 0;
  for (const std::int64_t head_dim : s.head_dims) {
    const std::int64_t near = nearest_multiple(hidden_sizes, head_dim * std::max(kv_heads, 1L));
    if (hidden == 0 || near < hidden) hidden = near, of_head_dim = head_dim;
  }
  const std::int64_t head_dim = nearest_head_dim(hidden_sizes, s.head_dims, kv_heads);
  problems.add(
      "the search has no shape: no hidden size of search.hidden_sizes (or hidden_min to "
      "hidden_max) is {} times a head size of search.head_dims = {}. A hidden size of {} fits "
      "heads of {}{}",
      kv_heads == 0 ? "a whole number"
                    : fmt::format("a multiple of model.num_key_value_heads = {}", kv_heads),
      config::toml_value(s.head_dims), hidden, of_head_dim,
      head_dim > 0 ? fmt::format("; of the hidden sizes as they are one fits heads of {}", head_dim)
                   : "");
}

}  // namespace espalier::plan
