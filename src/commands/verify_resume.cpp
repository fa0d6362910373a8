// espalier verify-resume: that a run goes on from its checkpoints as it went.
#include <algorithm>
#include <array>
#include <utility>

#include "base/log.hpp"
#include "base/simd/level.hpp"
#include "commands/commands.hpp"
#include "commands/simd_choice.hpp"
#include "io/toml_reader.hpp"
#include "parallel/comm/on_rank_0.hpp"
#include "train/replay.hpp"
#include "train/stopped_early.hpp"

namespace espalier::commands {
namespace {

/// What may be another in a replay than in the run: where it computes, and where the data lie.
constexpr std::array<std::string_view, 10> kAllowed = {"verify.",
                                                       "parallel.",
                                                       "device.",
                                                       "memory.",
                                                       "training.micro_batch_size=",
                                                       "data.train=",
                                                       "data.sources=",
                                                       "data.tokenizer=",
                                                       "data.verify_checksum=",
                                                       "run.time_limit="};

void require_meaning(std::span<const std::string> overrides) {
  for (const std::string& text : overrides)
    if (std::none_of(kAllowed.begin(), kAllowed.end(),
                     [&](std::string_view begin) { return text.starts_with(begin); }))
      throw Error(ExitStatus::bad_configuration,
                  fmt::format("override {}: a replay computes what the run computed. [verify], "
                              "[parallel], [device], [memory], training.micro_batch_size, "
                              "data.train, data.sources, data.tokenizer, data.verify_checksum and "
                              "run.time_limit have a meaning here",
                              text),
                  Met::by_every_rank);
}

/// Why other digits need be no fault; empty: they are one.
std::string why_other_digits(const train::ReplayPlan& plan, const std::string& grid) {
  const std::string simd(simd::name_of(simd::level()));
  std::string text;
  if (!plan.recorded_grid.empty() && plan.recorded_grid != grid)
    text = fmt::format("the replay runs on {}, the run did on {}", grid, plan.recorded_grid);
  if (!plan.recorded_simd.empty() && plan.recorded_simd != simd)
    text += fmt::format("{}at SIMD level {}, the checkpoint was written at {}",
                        text.empty() ? "the replay runs " : ", and ", simd, plan.recorded_simd);
  return text;
}

std::string steps_text(const std::vector<std::int64_t>& steps) {
  std::string text;
  for (const std::int64_t step : steps) text += fmt::format("{}{}", text.empty() ? "" : ", ", step);
  return text;
}

/// The sentence of a replay that found differences.
std::string describe_differences(const train::ReplayFindings& found, const std::string& run,
                                 const std::string& why) {
  std::string text;
  if (found.num_different > 0)
    text = fmt::format("{}: {} of {} replayed steps differ from the run, first {}", run,
                       found.num_different, found.steps, found.first_difference);
  if (found.largest_relative > 0.0)
    text += fmt::format(
        ". The largest relative difference of loss and gradient norm is {:.2e}, in step {}",
        found.largest_relative, found.largest_step);
  for (const std::string& state : found.other_states)
    text += text.empty() ? run + ": " + state : ". " + state;
  if (!why.empty())
    return text +
           fmt::format(". Sums are rounded otherwise here: {}. Repeat it as the run was made", why);
  return text +
         ". On the grid and device of the run this must not be: a file was changed, the program "
         "is another, or a machine computed wrongly. Replay it on other nodes, or from another "
         "checkpoint (--from)";
}

ExitStatus replay(parallel::MpiSession& session, const config::Parameters& parameters,
                  const train::ReplayPlan& plan, const std::string& run) {
  const std::int64_t from = parameters.verify.from, steps = parameters.verify.steps;
  log::info("{}: steps {} to {} are computed again from its checkpoint of step {}", run, from + 1,
            from + steps, from);
  for (const std::string& remark : plan.remarks) log::info("{}", remark);

  train::Replay steps_again(session, parameters);
  const std::string why = why_other_digits(plan, steps_again.grid());
  if (!why.empty() && session.rank() == 0)
    log::warn("{}: sums are rounded otherwise there, and equal digits are not promised", why);
  const train::ReplayFindings found = steps_again.run();
  parallel::on_rank_0(session, [&] {
    if (found.num_different > 0 || !found.other_states.empty())
      fail(ExitStatus::bad_numbers, "{}", describe_differences(found, run, why));
    return std::string();
  });
  if (found.stopped)
    return train::stopped_early(
        *found.stopped,
        fmt::format("{} of {} steps were replayed, and none differs", found.steps, steps));
  log::info("{}: {} steps from checkpoint {} have every digit of history.csv again{}", run, steps,
            from,
            found.equal_states.empty()
                ? "; no later checkpoint lies within them"
                : fmt::format(", and the weights and moments every bit of the checkpoints after {}",
                              steps_text(found.equal_states)));
  return ExitStatus::ok;
}

}  // namespace

ExitStatus verify_resume(parallel::MpiSession& session, std::span<const std::string> paths,
                         std::span<const std::string> overrides, bool /*dry_run*/) {
  if (paths.size() != 1)
    throw Error(ExitStatus::usage,
                fmt::format("{} paths: name one run directory, as in `espalier verify-resume "
                            "runs/mine`",
                            paths.size()),
                Met::by_every_rank);
  require_meaning(overrides);
  const std::string& run = paths.front();
  train::ReplayPlan plan;  // rank 0
  const std::string text = parallel::on_rank_0(session, [&] {
    config::Parameters asked;
    io::read_parameters("", "command line", overrides, asked);
    plan = train::plan_replay(run, asked.verify);
    const config::VerifyParameters settled = plan.parameters.verify;
    io::read_parameters("", "command line", overrides, plan.parameters);
    plan.parameters.verify = settled;
    return config::to_toml(plan.parameters);
  });
  config::Parameters parameters;
  io::read_parameters(text, run, {}, parameters);
  config::resolve(parameters, session.size(), config::Use::training);
  choose_simd_level(session, parameters.device);
  return train::status_unless_stopped([&] { return replay(session, parameters, plan, run); });
}

}  // namespace espalier::commands
