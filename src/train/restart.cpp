#include "train/restart.hpp"

#include <algorithm>
#include <array>

#include "base/error.hpp"
#include "base/log.hpp"
#include "base/simd/level.hpp"
#include "config/changes.hpp"
#include "huggingface/config_json.hpp"
#include "io/toml_reader.hpp"
#include "optim/schedule.hpp"

namespace espalier::train {
namespace {

namespace fs = std::filesystem;
using config::Change;

/// Keys of the tables below whose change leaves the course of a run as it is. The tokenizer's file
/// may have moved; that it is the same tokenizer is required elsewhere. training.tokens has become
/// training.steps.
constexpr std::array<std::string_view, 11> kWithoutEffect = {"model.file",
                                                             "model.bos_token_id",
                                                             "model.eos_token_id",
                                                             "model.pad_token_id",
                                                             "model.generation_config",
                                                             "training.tokens",
                                                             "training.micro_batch_size",
                                                             "training.loss_chunk_tokens",
                                                             "training.log_interval",
                                                             "data.tokenizer",
                                                             "data.verify_checksum"};

bool has_key(const std::vector<Change>& changes, std::string_view key) {
  return std::any_of(changes.begin(), changes.end(),
                     [&](const Change& change) { return change.key == key; });
}

double learning_rate(const config::Parameters& p, std::int64_t step) {
  return optim::learning_rate_at(p.optimizer, p.schedule, step, p.training.steps);
}

}  // namespace

config::Parameters input_of(const io::CheckpointInfo& info, const fs::path& folder) {
  config::Parameters parameters;
  io::read_parameters(info.resolved_input, (folder / "master.h5").string(), {}, parameters);
  return parameters;
}

void require_same_function(const config::Parameters& earlier, const config::Parameters& now,
                           const fs::path& folder) {
  const std::vector<Change> changes = huggingface::changes_of_function(earlier.model, now.model);
  if (changes.empty()) return;
  const std::vector<std::string>& allowed = now.checkpoint.allow_changes;
  std::vector<std::string> keys;
  bool all_allowed = true;
  for (const Change& change : changes) {
    keys.push_back(change.key);
    all_allowed =
        all_allowed && std::find(allowed.begin(), allowed.end(), change.key) != allowed.end();
  }
  if (!all_allowed)
    throw Error(
        ExitStatus::bad_configuration,
        fmt::format(
            "{} is of a model with tensors of the same shapes that computes something "
            "else:\n{}\nSet the old values again, or output.directory to another folder for "
            "a new run. To go on with these weights in the new function, set "
            "checkpoint.allow_changes = {}",
            folder.string(), config::describe(changes), config::toml_value(keys)),
        Met::by_every_rank);
  if (log::rank() == 0)
    log::warn("the weights go on in another function, as checkpoint.allow_changes says:\n{}",
              config::describe(changes));
}

namespace {

constexpr std::string_view kSimdLine = "\nSIMD level ";

/// The level in a checkpoint's description of its program; empty: none is named.
std::string simd_level_in(const std::string& build) {
  const std::size_t at = build.find(kSimdLine);
  if (at == std::string::npos) return {};
  const std::size_t begin = at + kSimdLine.size();
  return build.substr(begin, build.find('\n', begin) - begin);
}

}  // namespace

std::string with_simd_level(const std::string& build) {
  return fmt::format("{}{}{}", build, kSimdLine, simd::name_of(simd::level()));
}

std::string changes_of_course(const io::CheckpointInfo& info, const config::Parameters& earlier,
                              const config::Parameters& now, const std::string& data_identity) {
  std::vector<Change> changes;
  const auto add = [&](const std::vector<Change>& of_table) {
    changes.insert(changes.end(), of_table.begin(), of_table.end());
  };
  add(config::changes("model", earlier.model, now.model));
  add(config::changes("training", earlier.training, now.training));
  add(config::changes("optimizer", earlier.optimizer, now.optimizer));
  add(config::changes("schedule", earlier.schedule, now.schedule));
  add(config::changes("data", earlier.data, now.data));
  const std::vector<Change> function = huggingface::changes_of_function(earlier.model, now.model);
  std::erase_if(changes, [&](const Change& change) {
    return has_key(function, change.key) || std::find(kWithoutEffect.begin(), kWithoutEffect.end(),
                                                      change.key) != kWithoutEffect.end();
  });

  std::string text = config::describe(changes);
  const auto line = [&](const std::string& said) { text += (text.empty() ? "  " : "\n  ") + said; };
  if (!info.data_identity.empty() && !data_identity.empty() && info.data_identity != data_identity)
    line(fmt::format("the training data are {} (were {}): samples may come again or never",
                     data_identity, info.data_identity));
  const std::string level = simd_level_in(info.build);
  if (!level.empty() && level != simd::name_of(simd::level()))
    line(fmt::format("SIMD level {} (was {}): results differ by rounding",
                     simd::name_of(simd::level()), level));
  if (info.step > 0 && info.step < now.training.steps) {
    const double planned = learning_rate(earlier, info.step + 1);
    const double next = learning_rate(now, info.step + 1);
    if (planned != next)
      line(fmt::format("learning rate of step {}: {:.3e} (was {:.3e}; step {} had {:.3e})",
                       info.step + 1, next, planned, info.step, learning_rate(earlier, info.step)));
  }
  return text;
}

void require_continuable(const io::CheckpointInfo& info, const fs::path& folder) {
  if (!info.weights_only) return;
  throw Error(ExitStatus::bad_data,
              fmt::format("{} holds weights without the optimiser's moments: no run can be "
                          "continued from it. Start a new run from it: model.initial_weights = "
                          "\"{}\" with another output.directory",
                          folder.string(), folder.string()),
              Met::by_every_rank);
}

}  // namespace espalier::train
