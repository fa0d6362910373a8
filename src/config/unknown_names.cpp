#include "config/unknown_names.hpp"

#include <fmt/core.h>

#include <algorithm>
#include <array>
#include <string_view>
#include <vector>

#include "base/text.hpp"
#include "config/reference.hpp"

namespace espalier::config {

namespace {

/// What other programs call a key, whose letters say nothing of ours.
struct OtherName {
  std::string_view other, ours;
};
constexpr std::array kOtherNames{
    OtherName{"lr", "optimizer.learning_rate"},
    OtherName{"max_lr", "optimizer.learning_rate"},
    OtherName{"warmup", "schedule.warmup_steps"},
    OtherName{"seqlen", "training.sequence_length"},
    OtherName{"seq_len", "training.sequence_length"},
    OtherName{"seq_length", "training.sequence_length"},
    OtherName{"block_size", "training.sequence_length"},
    OtherName{"batch_size", "training.global_batch_size"},
    OtherName{"max_steps", "training.steps"},
    OtherName{"train_iters", "training.steps"},
    OtherName{"grad_clip", "optimizer.max_grad_norm"},
    OtherName{"clip_grad", "optimizer.max_grad_norm"},
    OtherName{"tp", "parallel.tensor"},
    OtherName{"tensor_parallel", "parallel.tensor"},
    OtherName{"cp", "parallel.context"},
    OtherName{"context_parallel", "parallel.context"},
    OtherName{"dp", "parallel.data"},
    OtherName{"data_parallel", "parallel.data"},
    OtherName{"pp", "parallel.pipeline"},
    OtherName{"pipeline_parallel", "parallel.pipeline"},
    OtherName{"ep", "parallel.expert"},
    OtherName{"expert_parallel", "parallel.expert"},
    OtherName{"zero", "parallel.zero_stage"},
};

}  // namespace

std::string meant_key(const std::string& table, const std::string& key) {
  for (const OtherName& name : kOtherNames)
    if (name.other == key) return std::string(name.ours);
  const std::vector<std::string> all = key_names();
  // The right word in the wrong table is a commoner slip than it seems: [model] sequence_length.
  for (const std::string& name : all)
    if (name.substr(name.find('.') + 1) == key) return name;

  std::vector<std::string> of_table;
  for (const std::string& name : all)
    if (name.starts_with(table + ".")) of_table.push_back(name.substr(table.size() + 1));
  const std::string near = nearest_name(key, of_table);
  return near.empty() ? near : table + "." + near;
}

std::string meant_table(const std::string& name) {
  return nearest_name(name, table_names());
}

std::string unknown_key(const std::string& table, const std::string& key) {
  const std::string meant = meant_key(table, key);
  if (!meant.empty()) return fmt::format("unknown key {}.{}; did you mean {}?", table, key, meant);
  return fmt::format("unknown key {}.{}; `espalier help parameters {}` lists the keys", table, key,
                     table);
}

bool is_table_name(const std::string& name) {
  const std::vector<std::string> names = table_names();
  return std::find(names.begin(), names.end(), name) != names.end();
}

std::string unknown_table(const std::string& name) {
  const std::string near = meant_table(name);
  if (!near.empty()) return fmt::format("unknown table [{}]; did you mean [{}]?", name, near);
  return fmt::format("unknown table [{}]; `espalier help parameters` lists the tables", name);
}

std::string key_outside_table(const std::string& key) {
  for (const std::string& name : key_names())
    if (name.substr(name.find('.') + 1) == key)
      return fmt::format("key {} is outside a table; did you mean {}?", key, name);
  return fmt::format("key {} is outside a table: keys stand under a line like [training]", key);
}

}  // namespace espalier::config
