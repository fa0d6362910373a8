#include <array>

#include "commands/commands.hpp"

namespace espalier::commands {
namespace {

constexpr Option kFormat{"--format", "plan.format"}, kPlot{"--plot", "plan.plot"},
    kWrite{"--write", "plan.write"}, kDevice{"--device", "plan.device"};
constexpr std::array kAllOptions = {kFormat, kPlot, kWrite, kDevice};  // search, grid
constexpr std::array kCompareOptions = {kFormat, kDevice};
constexpr std::array kPictureOptions = {kFormat, kPlot, kDevice};  // memory, time
constexpr std::array kScheduleOptions = {kFormat, kPlot};
constexpr std::array kCampaignOptions = {kFormat, kWrite, kDevice};
constexpr std::array kFitOptions = {kFormat, kPlot, kWrite};

template <class... Keys>
constexpr auto keys(Keys... names) {
  return std::array<std::string_view, sizeof...(names)>{names...};
}
// The keys of [plan] that each heeds.
constexpr auto kSearchKeys = keys("device", "ranks", "hours", "checkpoint_minutes", "rows",
                                  "format", "plot", "write", "write_row");
constexpr auto kCompareKeys = keys("device", "ranks", "checkpoint_minutes", "format");
constexpr auto kMemoryKeys = keys("device", "ranks", "format", "plot");
constexpr auto kTimeKeys =
    keys("device", "ranks", "hours", "checkpoint_minutes", "rows", "format", "plot");
constexpr auto kGridKeys = keys("device", "ranks", "hours", "checkpoint_minutes", "rows", "format",
                                "plot", "write", "write_row", "schedule", "chunks");
constexpr auto kScheduleKeys =
    keys("schedule", "pipeline", "micro_batches", "chunks", "schedule_times", "format", "plot");
constexpr auto kCampaignKeys =
    keys("device", "ranks", "hours", "checkpoint_minutes", "format", "write");
constexpr auto kFitKeys = keys("rows", "format", "plot", "write");

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
            "      and the hours of their best layout: the first plan.rows of them, or all with\n"
            "      plan.rows=0. Several devices are alternatives: 'plan.device=[\"b200\", "
            "\"h100\"]'\n"
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
        .options = kAllOptions,
        .plan_keys = kSearchKeys,
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
        .options = kCompareOptions,
        .plan_keys = kCompareKeys,
        .has_dry_run = false,
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
        .options = kPictureOptions,
        .plan_keys = kMemoryKeys,
        .has_dry_run = false,
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
            "    plan.ranks=8 --device b200\n",
        .use = config::Use::document,
        .options = kPictureOptions,
        .plan_keys = kTimeKeys,
        .has_dry_run = false,
        .run = plan_time},
    Command{
        .name = "plan grid",
        .arguments = "input.toml [section.key=value ...] [--format FORMAT]",
        .summary = "every layout of a run on a number of devices, the fastest first",
        .details =
            "Lays the run out on plan.ranks devices in every way that train accepts: tensor x\n"
            "data x pipeline ranks, long sequences over context ranks of which each keeps 4,096\n"
            "tokens, experts over ranks, micro-batch, memory.recompute and ZeRO stage, which the\n"
            "input need not name. Those that fit come first, the fastest first, with the memory\n"
            "of the rank that needs most, time of a step, tokens/s, MFU, hours and device-hours\n"
            "of the run; then where the time goes, why each comes behind the first, and what\n"
            "nearly fits. A pipeline gets the schedule that is the fastest of those that fit,\n"
            "unless the input names parallel.schedule: then it has that one.\n"
            "\n"
            "  --device NAME        of inputs/devices, or a file with a [hardware] table\n"
            "  plan.ranks=N         devices of the job; 0: as many as [parallel] says\n"
            "  plan.rows=N          layouts that are listed; 0: all, in csv and json also those\n"
            "                       that do not fit\n"
            "  plan.schedule=NAME   this schedule of a pipeline, with plan.chunks, where it is\n"
            "                       legal, else 1f1b; all: the fastest, whatever the input names\n"
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
            "    --device b200\n",
        .use = config::Use::document,
        .options = kAllOptions,
        .plan_keys = kGridKeys,
        .has_dry_run = false,
        .run = plan_grid},
    Command{
        .name = "plan schedule",
        .arguments = "[input.toml] section.key=value ... [--format FORMAT]",
        .summary = "pipeline schedules: idle time, memory, and a picture",
        .details =
            "Compares the pipeline schedules, or shows one of them rank by rank and draws it. It\n"
            "needs no model: plan.pipeline ranks, plan.micro_batches, and how long a rank takes\n"
            "for a micro-batch. The lists of actions are simulated with messages that wait for\n"
            "both ends. No schedule changes the bits of a gradient: each stage adds its\n"
            "micro-batches in the same order as without a pipeline.\n"
            "\n"
            "train takes the same schedule, of parallel.schedule and parallel.chunks.\n"
            "\n"
            "  plan.schedule=NAME       gpipe, 1f1b, interleaved, zb-h1, zb1p, zb-v, dualpipe-v;\n"
            "                           all: a table of those that fit\n"
            "  plan.pipeline=P          ranks of the pipeline\n"
            "  plan.micro_batches=M     of a step; 0: as many as the batch of the input has\n"
            "  plan.chunks=V            pieces of the model on a rank, of interleaved and zb1p\n"
            "  plan.schedule_times=[F, B, W]      times of a rank: forward, gradients of inputs,\n"
            "                           of weights; a fourth number: of a message\n"
            "  --format FORMAT          text, markdown, csv or json: of one schedule csv and json\n"
            "                           have the actions of each rank, 0F3: stage, what, "
            "micro-batch\n"
            "  --plot FILE.svg          the picture; of all, a bar for each; a new file\n"
            "\n"
            "bubble: share of the ranks' time in which they are idle. live: micro-batches whose\n"
            "activations a rank keeps, a chunk of v counting 1/v.\n"
            "\n"
            "Examples\n"
            "  All of them, on 8 ranks:\n"
            "    espalier plan schedule plan.pipeline=8 plan.micro_batches=32\n"
            "  One, drawn in the terminal and as a file:\n"
            "    espalier plan schedule plan.pipeline=4 plan.micro_batches=8 plan.schedule=zb-v "
            "\\\n"
            "        --plot zb-v.svg\n"
            "  With recomputation, B takes as long as F and B together:\n"
            "    espalier plan schedule plan.pipeline=8 plan.micro_batches=32 \\\n"
            "        plan.schedule_times=[1,2,1]\n"
            "  Of a run input, as many micro-batches as its batch has:\n"
            "    espalier plan schedule my-run.toml plan.pipeline=4\n",
        .use = config::Use::document,
        .options = kScheduleOptions,
        .plan_keys = kScheduleKeys,
        .has_dry_run = false,
        .run = plan_schedule},
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
        .options = kCampaignOptions,
        .plan_keys = kCampaignKeys,
        .has_dry_run = false,
        .run_on_paths_with_input = plan_campaign},
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
            .options = kFitOptions,
            .plan_keys = kFitKeys,
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
         "Which pipeline schedule is idle least, and what does it keep? (Plans alone: train takes\n"
         "no pipeline yet.)\n"
         "  espalier plan schedule plan.pipeline=8 plan.micro_batches=32\n"
         "What can be done in 60 hours?\n"
         "  espalier plan campaign inputs/plans/b200-60h.toml\n"
         "Which law do our own runs follow, and what would a larger one reach?\n"
         "  espalier plan fit runs/small-1 runs/small-2 ... fit.predict_parameters=1e9 \\\n"
         "      fit.predict_tokens=20e9\n"
         "\n"
         "All of them print text, or with --format csv, markdown or json what programs read. "
         "--plot\n"
         "draws an SVG (search, memory, time, grid, schedule, fit); --write writes model files, "
         "run\n"
         "inputs or a fitted law (search, grid, campaign, fit). Devices are the files of\n"
         "inputs/devices, by name; `espalier bench --write` measures the host it runs on. What is\n"
         "exact and what is a model: docs/planning.md. A page for each: espalier help plan "
         "search.\n";
}

std::span<const Command> plan_command_table() {
  return kPlanCommands;
}

}  // namespace espalier::commands
