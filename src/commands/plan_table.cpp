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
    Command{
        .name = "plan compare",
        .arguments = "a.toml b.toml ... [section.key=value ...] [--format FORMAT]",
        .summary = "models and runs side by side",
        .details =
            "Prints models and runs side by side: families, sizes, parameters, FLOPs per token by\n"
            "part of the model; of runs, which have a length, also tokens, expected loss\n"
            "([loss_law]) and learning rate beside the hint of Step Law; and what each needs on\n"
            "devices: memory, layout, tokens/s, hours. Rows in which they differ have a star\n"
            "(Markdown: bold headings). An input is a model file or a run input; overrides are\n"
            "for all of them. CSV and JSON have a row for each.\n"
            "\n"
            "  plan.device=b200   devices (inputs/devices, or a file); several: a list\n"
            "  plan.ranks=8       so many of them, in the fastest layout; 0: the input's grid\n"
            "\n"
            "Two models, and what their layers cost:\n"
            "  espalier plan compare inputs/models/llama3-8b.toml inputs/models/qwen3-8b.toml\n"
            "The same number of tokens for both, on eight A100:\n"
            "  espalier plan compare inputs/models/qwen3-{0.6b,1.7b}.toml training.tokens=20e9 \\\n"
            "    training.global_batch_size=256 plan.device=a100-80 plan.ranks=8\n"
            "Runs as they stand, for a document:\n"
            "  espalier plan compare inputs/runs/llama3-*-8xb200.toml plan.device=b200 \\\n"
            "    --format markdown\n",
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
    Command{
        .name = "plan campaign",
        .arguments = "campaign.toml [section.key=value ...] [--format FORMAT] [--write FOLDER]",
        .summary = "phases of work in the hours there are",
        .details =
            "Plans the [[campaign.phases]] of the input, one after another, in plan.hours on\n"
            "plan.ranks devices: of each run the fastest layout that fits, tokens, hours, memory\n"
            "and expected loss; then what does not fit, by how much, and what to cut. A phase\n"
            "starts from a run input, found from the campaign's folder or the working directory;\n"
            "its changes make a run for each value:\n"
            "  [[campaign.phases]]\n"
            "  name = \"theta\"\n"
            "  input = \"../runs/qwen3-0.6b-baseline-8xb200.toml\"\n"
            "  changes = [\"model.rope_theta=1e6 | 1e5 | 2e6\"]  # runs theta-1e6, theta-1e5, ...\n"
            "  tokens = 4e9        # of each; or share = 0.2: of the hours without the reserve\n"
            "A run that computes the same as an earlier one is not done again. The expected loss\n"
            "knows parameters and tokens alone: what theta does, the run will tell. With several\n"
            "devices the campaign is planned on each. A campaign that does not fit is an answer,\n"
            "with status 0.\n"
            "\n"
            "  --write FOLDER  the input of every run that fits, with its layout; nothing that is\n"
            "                  there already is overwritten\n"
            "\n"
            "60 hours on a DGX B200, and the same work in 40:\n"
            "  espalier plan campaign inputs/plans/b200-60h.toml\n"
            "  espalier plan campaign inputs/plans/b200-60h.toml plan.hours=40\n"
            "The inputs, into a new folder:\n"
            "  espalier plan campaign inputs/plans/b200-60h.toml --write campaign\n",
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
