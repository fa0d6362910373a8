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
            .run = plan_campaign},
    Command{.name = "plan fit",
            .arguments = "run|file.csv ... [section.key=value ...] [--format FORMAT]",
            .summary = "a loss law fitted to runs",
            .details =
                "Fits L(N, D) = e + a/N^alpha + b/D^beta to finished runs and tables of points,\n"
                "and predicts other runs by it. As Hoffmann et al. 2022 (arXiv:2203.15556): the\n"
                "Huber loss of log loss is minimised by L-BFGS from 4,500 starts. Intervals come\n"
                "from points drawn anew (bootstrap). At least five points, of three sizes and of\n"
                "three lengths: more, over a wide range, make intervals that are of use.\n"
                "\n"
                "  espalier plan fit runs/*\n"
                "      a run is its folder: N from the model of its newest checkpoint, D and loss\n"
                "      from its last validation. Runs should end with their schedules: a loss in\n"
                "      the middle of one is no loss of a shorter run, and is refused.\n"
                "  espalier plan fit runs/* 'fit.hold_back=[\"h256-1600\"]'\n"
                "      how well would the others have predicted this run?\n"
                "  espalier plan fit runs/* fit.predict_parameters=70e9 fit.predict_tokens=1.4e12\n"
                "      the loss to expect, where nine of ten such runs would end, and where nine\n"
                "      of ten laws would pass\n"
                "  espalier plan fit points.csv\n"
                "      columns parameters, tokens, loss, and name if need be; flops (6 N D) may\n"
                "      stand in place of parameters or tokens. Other names of columns:\n"
                "      'fit.columns=[\"parameters=Model Size\", \"flops=Training FLOP\"]'\n"
                "  espalier plan fit runs/* --write plans --plot fit.svg\n"
                "      plans/loss_law.toml, which a search reads with\n"
                "      espalier plan search search.toml loss_law.file=plans/loss_law.toml,\n"
                "      and a picture: loss over D, measured and by the law, for every N\n"
                "  espalier plan fit runs/* --format csv > fit.csv\n"
                "      all points and digits in one table; json has them in lists\n"
                "\n"
                "All keys: espalier help parameters fit.\n",
            .use = config::Use::document,
            .options = kOptions,
            .run_on_paths_with_input = plan_fit},
};

}  // namespace

std::span<const Command> plan_command_table() {
  return kPlanCommands;
}

}  // namespace espalier::commands
