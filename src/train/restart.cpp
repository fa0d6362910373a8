#include "train/restart.hpp"

#include "base/error.hpp"
#include "base/log.hpp"
#include "base/simd/level.hpp"
#include "config/changes.hpp"
#include "io/toml_reader.hpp"
#include "optim/schedule.hpp"
#include "train/checkpointing.hpp"

namespace espalier::train {
namespace {

namespace fs = std::filesystem;
using config::Change;

double learning_rate(const config::Parameters& p, std::int64_t step) {
  return optim::learning_rate_at(p.optimizer, p.schedule, step, p.training.steps);
}

}  // namespace

config::Parameters input_of(const io::CheckpointInfo& info, const fs::path& folder) {
  config::Parameters parameters;
  io::read_parameters(info.resolved_input, (folder / "master.h5").string(), {}, parameters);
  return parameters;
}

namespace {

constexpr std::string_view kSimdLine = "\nSIMD level ";

}  // namespace

std::string simd_level_in(const std::string& build) {
  const std::size_t at = build.find(kSimdLine);
  if (at == std::string::npos) return {};
  const std::size_t begin = at + kSimdLine.size();
  return build.substr(begin, build.find('\n', begin) - begin);
}

std::string with_simd_level(const std::string& build) {
  return fmt::format("{}{}{}", build, kSimdLine, simd::name_of(simd::level()));
}

namespace {

/// A line for each thing that changes the course; empty: nothing does.
std::string changes_of_course(const io::CheckpointInfo& info, const config::Parameters& earlier,
                              const config::Parameters& now, const std::string& data_identity) {
  std::string text = config::describe(config::changes_of_course(earlier, now));
  const auto line = [&](const std::string& said) { text += (text.empty() ? "  " : "\n  ") + said; };
  for (const Change& change : config::changes_of_start(earlier, now))
    line(fmt::format("{} = {} (was {}): without effect, the weights are the checkpoint's",
                     change.key, change.now, change.before));
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

void require_moments(const io::CheckpointInfo& info, const fs::path& folder) {
  if (!info.weights_only) return;
  throw Error(ExitStatus::bad_data,
              fmt::format("{} holds weights without the optimizer's moments: no run can be "
                          "continued from it. Start a new run from it: model.initial_weights = "
                          "\"{}\" with another output.directory",
                          folder.string(), folder.string()),
              Met::by_every_rank);
}

void require_same_function(const std::vector<Change>& changes, const io::CheckpointReader& reader,
                           const fs::path& folder, const config::Parameters& now,
                           const std::vector<parallel::TensorSpec>& table) {
  config::require_allowed(
      changes, now.checkpoint.allow_changes,
      fmt::format("{} is of a model that computes something else", folder.string()));
  if (changes.empty()) return;
  if (const std::string problems = other_tensors(reader, table); !problems.empty())
    throw Error(ExitStatus::bad_configuration,
                fmt::format("{}: checkpoint.allow_changes cannot allow what other tensors would be "
                            "needed for:\n{}{}\nSet the old values again, or output.directory to "
                            "another folder for a new run",
                            folder.string(), config::describe(changes), problems),
                Met::by_every_rank);
  if (log::rank() == 0)
    log::warn("the weights go on in another function, as checkpoint.allow_changes says:\n{}",
              config::describe(changes));
}

void require_same_tokenizer(const io::CheckpointInfo& info, const fs::path& folder,
                            const std::string& identity) {
  if (info.tokenizer_identity.empty() || identity.empty() || info.tokenizer_identity == identity)
    return;
  throw Error(ExitStatus::bad_data,
              fmt::format("{}: trained with tokenizer {}, the shards are of tokenizer {}; use the "
                          "same shards or another output.directory",
                          folder.string(), info.tokenizer_identity, identity),
              Met::by_every_rank);
}

}  // namespace

config::Parameters require_continuable(const io::CheckpointReader& reader, const fs::path& folder,
                                       const config::Parameters& now,
                                       const std::vector<parallel::TensorSpec>& table,
                                       const std::string& tokenizer_identity) {
  require_moments(reader.info(), folder);
  config::Parameters earlier = input_of(reader.info(), folder);
  require_same_function(config::changes_of_function(earlier, now), reader, folder, now, table);
  require_same_model(reader, table);
  require_same_tokenizer(reader.info(), folder, tokenizer_identity);
  return earlier;
}

std::string allowed_changes(const io::CheckpointInfo& info, const config::Parameters& earlier,
                            const config::Parameters& now) {
  std::string text = info.allowed_changes;
  for (const Change& change : config::changes_of_function(earlier, now))
    text += fmt::format("{}after step {}: {} = {} (was {})", text.empty() ? "" : "\n", info.step,
                        change.key, change.now, change.before);
  return text;
}

void tell_changes_of_course(const io::CheckpointInfo& info, const fs::path& folder,
                            const config::Parameters& earlier, const config::Parameters& now,
                            const std::string& data_identity) {
  const std::string changes = changes_of_course(info, earlier, now, data_identity);
  if (!changes.empty() && log::rank() == 0)
    log::warn(
        "the input has changed since {} was written; the run goes on with the new values:\n{}",
        folder.string(), changes);
}

}  // namespace espalier::train
