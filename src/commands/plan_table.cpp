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
    Command{
        .name = "plan time",
        .arguments = "input.toml [section.key=value ...] [--format FORMAT]",
        .summary = "time of a step and of a run on a device, and where it goes",
        .details =
            "Predicts a step and the whole run of the input on each device of plan.device, as\n"
            "[parallel], [training] and [memory] lay it out: tokens/s, MFU, hours, and what a\n"
            "step's seconds go to: matrix products, attention, operators bound by memory, what\n"
            "the collectives of tensor and data ranks leave exposed, input and checkpoints.\n"
            "Every operator and message of the real step is counted; then come the operators\n"
            "that need most, with the least time that the data sheet allows them.\n"
            "\n"
            "  --device NAME        of inputs/devices, or a file with a [hardware] table; side by\n"
            "                       side with plan.device='[\"b200\", \"h100\"]'\n"
            "  plan.ranks=N         devices of the job; 0: as [parallel] says\n"
            "  plan.rows=N          operators that are listed; 0: all\n"
            "  plan.hours=H         says whether the run ends in that time\n"
            "  --format FORMAT      text, csv, markdown or json (one row per device)\n"
            "  --plot FILE.svg      the bars as a picture; a new file\n"
            "\n"
            "MFU is a share of the data sheet's dense peak. How far predictions for GPUs are\n"
            "from published measurements says validation/published_throughput.\n"
            "\n"
            "Example: Qwen3 8B on one node, two tensor ranks\n"
            "  espalier plan time model.file=inputs/models/qwen3-8b.toml "
            "training.sequence_length=4096 \\\n"
            "    training.global_batch_size=128 training.tokens=100_000_000_000 parallel.tensor=2 "
            "\\\n"
            "    plan.ranks=8 --device b200\n"
            "  ...\n"
            "  B200: where a step of 2.77 s goes\n"
            "\n"
            "  [AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAABBBBBBBCCCCCDDDDDDDDDD]\n"
            "    A  matrix products             1.933 s   69.8 %\n"
            "    B  attention                  0.2683 s    9.7 %\n"
            "    C  memory-bound operators     0.1938 s    7.0 %\n"
            "    D  tensor communication       0.3707 s   13.4 %\n"
            "    E  data communication       0.002584 s    0.1 %\n"
            "    F  norm, loss, overheads     1.8e-05 s    0.0 %\n",
        .use = config::Use::document,
        .options = kOptions,
        .run = plan_time},
    Command{
        .name = "plan grid",
        .arguments = "input.toml [section.key=value ...] [--format FORMAT]",
        .summary = "every layout of a run on a number of devices, the fastest first",
        .details =
            "Lays the run out on plan.ranks devices in every way that train accepts: tensor x\n"
            "data ranks, micro-batch, memory.recompute and ZeRO stage, which the input need not\n"
            "name. Those that fit come first, the fastest first, with the memory of the rank\n"
            "that needs most, time of a step, tokens/s, MFU, hours and device-hours of the run;\n"
            "then where the time goes, why each comes behind the first, and what nearly fits.\n"
            "\n"
            "  --device NAME        of inputs/devices, or a file with a [hardware] table\n"
            "  plan.ranks=N         devices of the job; 0: as many as [parallel] says\n"
            "  plan.rows=N          layouts that are listed; 0: all, in csv and json also those\n"
            "                       that do not fit\n"
            "  plan.hours=H         says whether the first ends in that time\n"
            "  --format FORMAT      text, csv, markdown or json\n"
            "  --plot FILE.svg      a bar for each layout; a new file\n"
            "  --write FOLDER       the first, or row plan.write_row, as an input for train, with\n"
            "                       what is expected of it; no file is overwritten\n"
            "\n"
            "Where the ranks have no layout, or none fits, it ends with status 78 and says which\n"
            "numbers of ranks have one, or what would help.\n"
            "\n"
            "Example: Qwen3 32B on eight nodes\n"
            "  espalier plan grid model.file=inputs/models/qwen3-32b.toml "
            "training.sequence_length=4096 \\\n"
            "    training.global_batch_size=1024 training.tokens=100_000_000_000 plan.ranks=64 \\\n"
            "    --device b200\n"
            "  ...\n"
            "   #  grid    micro  recompute  ZeRO    GiB  step, s  tokens/s  MFU %  full %  hours  "
            "device-h\n"
            "   1  2 x 32      2  none          1  149.5    9.733   430,944   61.3    65.1   64.5  "
            "   4,125\n"
            "   2  2 x 32      2  selective     1  140.1    9.793   428,298   60.9    64.7   64.9  "
            "   4,151\n"
            "   3  2 x 32      1  none          1  124.2    10.33   405,926   57.7    61.4   68.4  "
            "   4,380\n"
            "   4  2 x 32      1  selective     1  119.6    10.40   403,391   57.4    61.0   68.9  "
            "   4,407\n"
            "   5  4 x 16      8  none          1  153.5    10.81   387,931   55.2    58.6   71.6  "
            "   4,583\n"
            "  ...\n"
            "  behind the first, in % of its step\n"
            "\n"
            "   #  slower by  because of\n"
            "   3      6.2 %  2 x the micro-batches: matrix products +3.7 %, data communication "
            "+1.3 %\n"
            "   4      6.8 %  recompute, 2 x the micro-batches: matrix products +3.7 %\n"
            "   5     11.1 %  tensor communication +12.0 %\n"
            "   6     11.1 %  recompute: matrix products +11.4 %\n"
            "  ...\n"
            "  151 layouts do not fit; the nearest needs 179.2 GiB:\n"
            "  tensor 4 x data 16, micro-batch 32, recompute mlp, ZeRO-1\n",
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
