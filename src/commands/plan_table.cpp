#include <array>

#include "commands/commands.hpp"

namespace espalier::commands {
namespace {

constexpr std::array kOptions = {Option{"--format", "plan.format"}, Option{"--plot", "plan.plot"},
                                 Option{"--write", "plan.write"},
                                 Option{"--device", "plan.device"}};

const std::array kPlanCommands = {
    Command{.name = "plan search",
            .arguments = "search.toml [section.key=value ...] [--format FORMAT]",
            .summary = "the shapes and tokens with the lowest expected loss for a budget of FLOPs",
            .details = "",
            .use = config::Use::document,
            .options = kOptions,
            .run = plan_search},
    Command{.name = "plan compare",
            .arguments = "a.toml b.toml ... [section.key=value ...] [--format FORMAT]",
            .summary = "models and runs side by side",
            .details = "",
            .use = config::Use::document,
            .options = kOptions,
            .run_on_paths_with_input = plan_compare},
    Command{.name = "plan memory",
            .arguments = "input.toml [section.key=value ...] [--format FORMAT]",
            .summary = "memory by purpose, rank by rank, for any device",
            .details = "",
            .use = config::Use::document,
            .options = kOptions,
            .run = plan_memory},
    Command{.name = "plan time",
            .arguments = "input.toml [section.key=value ...] [--format FORMAT]",
            .summary = "time of a step and of a run on a device, and where it goes",
            .details = "",
            .use = config::Use::document,
            .options = kOptions,
            .run = plan_time},
    Command{.name = "plan grid",
            .arguments = "input.toml [section.key=value ...] [--format FORMAT]",
            .summary = "every layout of a run on a number of devices, the fastest first",
            .details = "",
            .use = config::Use::document,
            .options = kOptions,
            .run = plan_grid},
    Command{.name = "plan campaign",
            .arguments = "campaign.toml [section.key=value ...] [--format FORMAT]",
            .summary = "phases of work in the hours there are",
            .details = "",
            .use = config::Use::document,
            .options = kOptions,
            .run_on_paths_with_input = plan_campaign},
    Command{.name = "plan fit",
            .arguments = "run|file.csv ... [section.key=value ...] [--format FORMAT]",
            .summary = "a loss law fitted to runs",
            .details = "",
            .use = config::Use::document,
            .options = kOptions,
            .run_on_paths_with_input = plan_fit},
};

}  // namespace

std::span<const Command> plan_command_table() {
  return kPlanCommands;
}

}  // namespace espalier::commands
