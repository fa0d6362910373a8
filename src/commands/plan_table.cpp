#include <array>

#include "commands/commands.hpp"

namespace espalier::commands {
namespace {

constexpr std::array kOptions = {Option{"--format", "plan.format"}, Option{"--plot", "plan.plot"},
                                 Option{"--write", "plan.write"},
                                 Option{"--device", "plan.device"}};

const std::array kPlanCommands = {
    Command{
        .name = "plan search",
        .arguments = "search.toml [section.key=value ...] [--format FORMAT]",
        .summary = "the shapes and tokens with the lowest expected loss for a budget of FLOPs",
        .details =
            "Goes through every shape of [search] (layers, hidden sizes, head sizes) and every\n"
            "number of tokens, keeps those that spend search.budget within search.tolerance,\n"
            "and ranks the best of each shape by the loss that [loss_law] expects. [model] says\n"
            "what the shapes share: family, vocabulary, key/value heads, tying; it has no sizes.\n"
            "\n"
            "  espalier plan search inputs/plans/qwen3-1.36e21.toml\n"
            "      a published search: 42 shapes tried, 7 spend the budget. Its count of FLOPs\n"
            "      leaves the LM head out and counts causal attention A times.\n"
            "  espalier plan search inputs/plans/qwen3-1.36e21.toml search.flops=exact\n"
            "      the same space with the operations that are computed\n"
            "  espalier plan search inputs/plans/llama3-1.36e21.toml search.chinchilla_min=0.5 \\\n"
            "      search.chinchilla_max=1.5\n"
            "      only pairs with 10 to 30 tokens per parameter\n"
            "  espalier plan search inputs/plans/qwen3-1.36e21-exact.toml plan.device=b200 \\\n"
            "      plan.ranks=8 plan.hours=60\n"
            "      only shapes that eight B200 can hold and train in 60 hours, with the memory\n"
            "      and the hours of their best layout. Several devices are alternatives:\n"
            "      'plan.device=[\"b200\", \"h100\"]'\n"
            "  espalier plan search inputs/plans/qwen3-1.36e21-exact.toml --write plans \\\n"
            "      plan.write_row=2\n"
            "      model file and run input of the second row, in new files of the folder plans\n"
            "  espalier plan search inputs/plans/qwen3-1.36e21-exact.toml --plot search.svg\n"
            "      lines of equal loss over N and D, what the budget buys, and the candidates\n"
            "  espalier plan search inputs/plans/llama3-1.36e21.toml --format csv\n"
            "      all rows with all digits and columns; json has the statistics as well\n"
            "\n"
            "A law is less certain than the differences between rows. With\n"
            "  search.loss_resolution=0.01 'search.ties=[\"loss\", \"parameters\"]'\n"
            "the smallest model comes first of those whose losses round to the same hundredth.\n"
            "All keys: espalier help parameters search.\n",
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

std::string_view plan_guide() {
  return "espalier plan ... answers before a run costs anything. It needs no GPU and one process.\n"
         "\n"
         "Which model, and how many tokens?\n"
         "  espalier plan search inputs/plans/qwen3-1.36e21-exact.toml\n"
         "What is different between these models?\n"
         "  espalier plan compare inputs/models/qwen3-0.6b.toml inputs/models/llama3-1b.toml\n"
         "Does it fit, and what would help if it does not?\n"
         "  espalier plan memory inputs/runs/qwen3-1.8b-optimal-8xb200.toml --device a100-40\n"
         "How long does a step take, and what does it go to?\n"
         "  espalier plan time inputs/runs/qwen3-1.8b-optimal-8xb200.toml --device b200\n"
         "Which process grid is the fastest on 64 of them?\n"
         "  espalier plan grid inputs/runs/qwen3-1.8b-optimal-8xb200.toml --device b200 \\\n"
         "      plan.ranks=64\n"
         "What can be done in 60 hours?\n"
         "  espalier plan campaign inputs/plans/b200-60h.toml\n"
         "Which law do our own runs follow, and what would a larger one reach?\n"
         "  espalier plan fit runs/small-1 runs/small-2 ... fit.predict_parameters=1e9 \\\n"
         "      fit.predict_tokens=20e9\n"
         "\n"
         "All of them print text, or with --format csv, markdown or json what programs read; "
         "--plot\n"
         "draws an SVG, --write writes model files and run inputs. Devices are the files of\n"
         "inputs/devices, by name; `espalier bench --write` measures the host it runs on. What is\n"
         "exact and what is a model: docs/planning.md. A page for each: espalier help plan "
         "search.\n";
}

std::span<const Command> plan_command_table() {
  return kPlanCommands;
}

}  // namespace espalier::commands
