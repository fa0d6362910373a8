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
    Command{
        .name = "plan memory",
        .arguments = "input.toml [section.key=value ...] [--format FORMAT]",
        .summary = "memory by purpose, rank by rank, for any device",
        .details =
            "Says what every rank of a run needs, for what, and whether that fits, on one\n"
            "process and without the device: the arenas of the run itself, laid out without\n"
            "memory. The bytes are those that the run will take; what libraries take beside\n"
            "them is a guess and says so. Data, steps and schedule need not be there.\n"
            "\n"
            "Shown are the rank that needs most and the one that needs least. What does not\n"
            "fit gets a list of changes, the least costly first, with what is needed then\n"
            "and what each saves. With several devices: a line for each.\n"
            "\n"
            "  --device NAME    a device of inputs/devices, or a file with a [hardware] table;\n"
            "                   else device.memory_gib and device.compute_capability count\n"
            "  plan.ranks=N     ranks of the job, where parallel.data is 0\n"
            "  --format FORMAT  text, markdown, csv or json (all of it in one table: kind is\n"
            "                   planned, guess, beside (in host memory), total, room or remedy)\n"
            "  --plot FILE.svg  a bar for every mode of memory.recompute\n"
            "\n"
            "Examples\n"
            "  Where does the memory of an 8B model go, on 32 ranks?\n"
            "    espalier plan memory my-8b.toml parallel.tensor=8 plan.ranks=32\n"
            "  Does it fit on eight H100, and if not, what would help?\n"
            "    espalier plan memory my-8b.toml parallel.tensor=8 --device h100\n"
            "  On which of these devices does it fit?\n"
            "    espalier plan memory my-8b.toml parallel.tensor=8 \\\n"
            "      'plan.device=[\"a100-40\", \"h100\", \"b200\"]'\n"
            "  Recompute as little as 20 GiB allow, and draw it:\n"
            "    espalier plan memory my-8b.toml parallel.tensor=8 device.memory_gib=20 \\\n"
            "      device.compute_capability=90 memory.recompute=budget --plot memory.svg\n"
            "  The same for a rank of this machine, for a script:\n"
            "    espalier plan memory my-run.toml device.backend=host device.memory_gib=6 \\\n"
            "      --format json\n",
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
