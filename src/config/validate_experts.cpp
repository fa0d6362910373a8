// Blocks with experts: their sizes, their balance, and the ranks that share them.
#include <algorithm>
#include <numeric>

#include "config/experts.hpp"
#include "config/problems.hpp"

namespace espalier::config {
namespace {

constexpr std::string_view kKeysOfExperts[] = {
    "num_experts",         "num_experts_per_tok", "moe_intermediate_size", "norm_topk_prob",
    "decoder_sparse_step", "mlp_only_layers",     "router_aux_loss_coef"};

/// "num_experts = 8, norm_topk_prob = true": what is not as it is unless told otherwise, of the
/// keys that are asked for.
template <class Table, class IsWanted>
std::string set_keys(const Table& values, IsWanted&& is_wanted) {
  const Table standard;
  std::vector<std::string> defaults;
  Table::describe(standard,
                  [&](const Field&, const auto& value) { defaults.push_back(toml_value(value)); });
  std::string text;
  std::size_t i = 0;
  Table::describe(values, [&](const Field& field, const auto& value) {
    const std::string own = toml_value(value);
    if (own != defaults[i++] && is_wanted(field.name))
      text += fmt::format("{}{} = {}", text.empty() ? "" : ", ", field.name, own);
  });
  return text;
}

void check_dense(const ModelParameters& m, Problems& problems) {
  const std::string strangers =
      set_keys(m, [](std::string_view key) { return is_key_of_experts(key); });
  if (!strangers.empty())
    problems.add(
        "model.model_type = \"{}\" has no experts and gives no meaning to model.{}: remove what "
        "does not belong to it, or use model.model_type = \"qwen3_moe\"",
        m.model_type, strangers);
}

void check_layers(const ModelParameters& m, Problems& problems) {
  for (const std::int64_t layer : m.mlp_only_layers)
    if (layer >= m.num_hidden_layers)
      return problems.add(
          "model.mlp_only_layers has {}: blocks are numbered from 0, and model.num_hidden_layers = "
          "{}, so that the last is {}",
          layer, m.num_hidden_layers, m.num_hidden_layers - 1);
  if (num_sparse_blocks(m) == 0)
    problems.add(
        "model.decoder_sparse_step = {} and model.mlp_only_layers = {} leave none of "
        "model.num_hidden_layers = {} blocks with experts: change them, or use model.model_type = "
        "\"qwen3\", which computes the same without",
        m.decoder_sparse_step, toml_value(m.mlp_only_layers), m.num_hidden_layers);
}

}  // namespace

bool is_key_of_experts(std::string_view key) {
  return std::find(std::begin(kKeysOfExperts), std::end(kKeysOfExperts), key) !=
         std::end(kKeysOfExperts);
}

bool has_experts(const ModelParameters& m) {
  return m.model_type == "qwen3_moe";
}

bool is_sparse_block(const ModelParameters& m, std::int64_t layer) {
  return has_experts(m) && m.decoder_sparse_step > 0 && (layer + 1) % m.decoder_sparse_step == 0 &&
         std::find(m.mlp_only_layers.begin(), m.mlp_only_layers.end(), layer) ==
             m.mlp_only_layers.end();
}

std::int64_t num_sparse_blocks(const ModelParameters& m) {
  std::int64_t count = 0;
  for (std::int64_t layer = 0; layer < m.num_hidden_layers; ++layer)
    count += is_sparse_block(m, layer) ? 1 : 0;
  return count;
}

bool has_dense_blocks(const ModelParameters& m) {
  return !has_experts(m) || num_sparse_blocks(m) < m.num_hidden_layers;
}

void check_experts(ModelParameters& m, Problems& problems) {
  const auto not_set = [&](std::string_view key, std::string_view why) {
    problems.add("model.{} is not set: {} (a model file sets it, see inputs/models)", key, why);
    problems.mistakes().distrust(fmt::format("model.{}", key));
  };
  if (m.intermediate_size == 0 && has_dense_blocks(m)) {
    not_set("intermediate_size", has_experts(m)
                                     ? "some blocks have a dense MLP, and its width is at least 1"
                                     : "it must be at least 1");
    m.intermediate_size = 1;
  }
  if (!has_experts(m)) return check_dense(m, problems);
  if (m.num_experts == 0) not_set("num_experts", "a block has at least 1");
  if (m.num_experts_per_tok == 0)
    not_set("num_experts_per_tok", "a token is sent to at least 1 expert");
  if (m.moe_intermediate_size == 0)
    not_set("moe_intermediate_size", "an expert's width is at least 1");
  if (m.num_experts > 0 && m.num_experts_per_tok > m.num_experts)
    problems.add(
        "model.num_experts_per_tok = {} is above model.num_experts = {}: a token is sent to "
        "different experts, use at most {}",
        m.num_experts_per_tok, m.num_experts, m.num_experts);
  check_layers(m, problems);
  constexpr std::int64_t kMostExperts = 1024;  // a thread of a GPU's block for each
  if (m.num_experts > kMostExperts)
    problems.add("model.num_experts = {} is above {}, the most that a router chooses from",
                 m.num_experts, kMostExperts);
  m.num_experts = std::max<std::int64_t>(m.num_experts, 1);
}

void check_balance(const Parameters& p, Problems& problems) {
  const ExpertParameters& e = p.experts;
  if (!has_experts(p.model)) {
    const std::string strangers = set_keys(e, [](std::string_view) { return true; });
    if (!strangers.empty())
      problems.add(
          "model.model_type = \"{}\" has no experts and gives no meaning to experts.{}: remove the "
          "table [experts]",
          p.model.model_type, strangers);
    return;
  }
  if (e.balance_coefficient < 0.0 && e.balance_coefficient != -1.0)
    problems.add(
        "experts.balance_coefficient = {} is below 0, which would drive tokens to few experts: use "
        "at least 0, or -1 for model.router_aux_loss_coef",
        e.balance_coefficient);
  if (e.balance == "none" && e.balance_coefficient > 0.0)
    problems.add(
        "experts.balance_coefficient = {} has no meaning with experts.balance = \"none\": remove "
        "it, or name the loss that it belongs to, such as \"sequence\"",
        e.balance_coefficient);
  if (e.balance != "bias") {
    const std::string strangers =
        set_keys(e, [](std::string_view key) { return key.starts_with("bias_"); });
    if (!strangers.empty())
      problems.add(
          "experts.balance = \"{}\" has no bias and gives no meaning to experts.{}: remove it, or "
          "use experts.balance = \"bias\"",
          e.balance, strangers);
  }
  if (e.balance == "huggingface" && p.parallel.pipeline > 1)
    problems.add(
        "experts.balance = \"huggingface\" is one loss over the tokens of all blocks together, "
        "which stages of parallel.pipeline = {} cannot compute apart: use \"sequence\", \"batch\" "
        "or \"global\", or parallel.pipeline = 1",
        p.parallel.pipeline);
  if (p.parallel.tensor > 1 && !p.parallel.sequence_parallel)
    problems.add(
        "parallel.sequence_parallel = false does not fit model.model_type = \"{}\" on "
        "parallel.tensor = {}: experts are whole on a rank, and the tensor ranks share the tokens; "
        "set parallel.sequence_parallel = true, or parallel.tensor = 1",
        p.model.model_type, p.parallel.tensor);
}

bool check_expert_ranks(const Parameters& p, Problems& problems) {
  const std::int64_t expert = p.parallel.expert;
  if (expert == 1) return true;
  if (!has_experts(p.model)) {
    problems.add(
        "parallel.expert = {} does not fit model.model_type = \"{}\", which has no experts: remove "
        "it",
        expert, p.model.model_type);
    return false;
  }
  const std::int64_t stage = p.parallel.tensor * p.parallel.context * p.parallel.data;
  if (p.model.num_experts % expert == 0 && stage % expert == 0) return true;
  std::vector<std::int64_t> fitting;
  const std::int64_t common = std::gcd(p.model.num_experts, stage);
  for (std::int64_t size = 1; size <= common; ++size)
    if (common % size == 0) fitting.push_back(size);
  const std::string misfit =
      p.model.num_experts % expert != 0
          ? fmt::format("divide model.num_experts = {}", p.model.num_experts)
          : fmt::format(
                "divide the ranks of a stage, parallel.tensor x context x data = {} x {} x "
                "{} = {}",
                p.parallel.tensor, p.parallel.context, p.parallel.data, stage);
  problems.add("parallel.expert = {} does not {}: sizes that fit the model and the grid are {}",
               expert, misfit, either(fitting));
  return false;
}

}  // namespace espalier::config
