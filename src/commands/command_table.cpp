#include <array>
#include <vector>

#include "commands/commands.hpp"

namespace espalier::commands {
namespace {

constexpr std::string_view kInputArguments = "input.toml [section.key=value ...] [--dry-run]";
constexpr std::array kEvalOptions = {Option{"--tokens", "evaluation.tokens"},
                                     Option{"--logits", "evaluation.logits"},
                                     Option{"--text", "evaluation.text"}};
constexpr std::array kBenchOptions = {Option{"--write", "bench.write"}};
constexpr std::array kScalingOptions = {Option{"--format", "plan.format"},
                                        Option{"--plot", "bench.plot"}};
constexpr std::array kGenerateOptions = {Option{"--prompt", "generate.prompt"},
                                         Option{"--prompts", "generate.prompts"}};

constexpr std::array kReportOptions = {Option{"--write", "report.write"},
                                       Option{"--charts", "report.charts"}};
constexpr std::array kInspectOptions = {
    Option{"--hashes", "inspect.hashes", Option::Value::none},
    Option{"--difference", "inspect.difference", Option::Value::none}};
constexpr std::array kVerifyOptions = {Option{"--steps", "verify.steps", Option::Value::number},
                                       Option{"--from", "verify.from", Option::Value::number}};
constexpr std::array kStatusOptions = {Option{"--format", "plan.format"}};

const std::array kCommands = {
    Command{
        .name = "train",
        .arguments = kInputArguments,
        .summary = "pretrain a model, or continue its newest checkpoint",
        .details =
            "Trains the model of [model] on the token shards of [data]. When output.directory\n"
            "holds a complete checkpoint, the run continues from it, on any grid. Before the\n"
            "end of the time limit, or when it is asked to stop (SIGTERM, SIGINT, SIGUSR2, or\n"
            "a file `stop` in output.directory), it writes a checkpoint and ends with status\n"
            "75: submit the same command again. SIGUSR1 or a file `save` make it write one and\n"
            "go on, a file `status` a line in run.log. A second SIGTERM ends it at once.\n"
            "\n"
            "--dry-run on one process prints the resolved input, the grid and the memory plan\n"
            "for the ranks that [parallel] asks for, whatever machine it runs on. It opens all\n"
            "files, reads the batch of the next step and goes through the step's operators "
            "without\n"
            "computing them; with as many ranks as the grid has, each reads its own batch.\n",
        .use = config::Use::training,
        .stops_early = true,
        .run = train},
    Command{
        .name = "check",
        .arguments = "input.toml [section.key=value ...] [--format FORMAT]",
        .summary = "try beforehand what a training job would meet on its nodes",
        .details =
            "Started as the job will be (srun or mpirun, as many ranks on as many nodes), it "
            "tries\n"
            "what the job needs: input and grid, MPI and the binding of ranks to cores, "
            "processor,\n"
            "GPUs and NCCL, output.directory (writing, space, locks, whether the other nodes see\n"
            "it), memory of each node, collectives of every group of ranks, shards and tokenizer,\n"
            "the checkpoint to go on from, and the end of the job. All of it is tried even where\n"
            "something fails, and nothing that it writes stays. Each line is ok, a warning or a\n"
            "problem, with what to change; the status is that of the job that meets the first\n"
            "problem, and 0 without one. With plan.device it says how many jobs the run takes.\n"
            "\n"
            "  srun espalier check my.toml\n"
            "  mpirun -n 4 espalier check my.toml --format json    or csv, markdown\n",
        .use = config::Use::document,
        .stops_early = true,
        .options = kStatusOptions,
        .has_dry_run = false,
        .run = check},
    Command{
        .name = "eval",
        .arguments = "folder|input.toml [--text FILE | --tokens FILE [--logits FILE]] "
                     "[section.key=value ...]",
        .summary = "loss and perplexity of a checkpoint",
        .details =
            "Evaluates a checkpoint: the folder, the newest one of a run folder, or what an\n"
            "input file names (evaluation.checkpoint; empty: the newest of output.directory).\n"
            "Model, sequence length and dtype are the checkpoint's, unless an override says\n"
            "otherwise; the grid is what the job has and [parallel] asks for.\n"
            "\n"
            "  data.validation=...  token shards (the default: those of the training)\n"
            "  --text FILE          a text, of the kinds that tokenize reads (packed, JSON lines,\n"
            "                       \"-\"); its last tokens that fill no sequence are left out\n"
            "  --tokens FILE        HDF5, dataset tokens (sequences, S+1) u32\n"
            "  --logits FILE        with --tokens: writes logits (sequences, S, V) f32; a new "
            "file\n",
        .use = config::Use::evaluation,
        .takes_checkpoint = true,
        .stops_early = true,
        .options = kEvalOptions,
        .run = eval},
    Command{
        .name = "generate",
        .arguments = "folder|input.toml [--prompt TEXT | --prompts FILE] "
                     "[section.key=value ...]",
        .summary = "continue texts with a checkpoint",
        .details =
            "Continues the prompt, sampling as [generate] says, with a checkpoint: the folder,\n"
            "the newest one of a run folder, or what an input file names\n"
            "(generate.checkpoint; empty: the newest of output.directory).\n"
            "\n"
            "  --prompt TEXT   \"-\": standard input\n"
            "  --prompts FILE  a prompt per line, or JSON lines (.jsonl) with tokenize.text_key;\n"
            "                  the answers are JSON lines: prompt, text, tokens\n"
            "\n"
            "In such a file a line ends with \\n or \\r\\n, neither of which belongs to the "
            "prompt; a\n"
            "byte-order mark at its beginning is dropped, and blank lines are passed over. A "
            "prompt\n"
            "that cannot be continued (too long, or empty) is answered with prompt and error, the\n"
            "others are continued, and the command ends with status 65. A text ends before every\n"
            "token that the model or its generation_config.json calls its end, and before the\n"
            "separator of documents.\n",
        .use = config::Use::generation,
        .takes_checkpoint = true,
        .options = kGenerateOptions,
        .run = generate},
    Command{.name = "tokenize",
            .arguments = "input.toml [section.key=value ...]",
            .summary = "turn text into token shards",
            .details =
                "Reads tokenize.input (text, JSON lines or Parquet), encodes it with\n"
                "data.tokenizer and writes train-*.h5 and validation-*.h5 into tokenize.output.\n"
                "An input is a file, a folder (all texts below it; what is left out is said),\n"
                "or \"-\", standard input; pipes are read once and want a single rank. Packed\n"
                "files (.gz, .bz2, .xz, .zst) are unpacked. What is none of these kinds by its\n"
                "first bytes or its name is refused; tokenize.format decides otherwise.\n"
                "A row of Parquet is a document, and tokenize.text_key its column.\n"
                "Plain text need not be valid UTF-8: each maximal ill-formed part counts as\n"
                "U+FFFD (Unicode section 3.9, as Python's errors=\"replace\"). JSON lines\n"
                "must be valid: a bad line ends the command with its file and line, or is\n"
                "passed over and counted (tokenize.on_bad_line).\n"
                "A document is what data.begin_of_document puts first (Llama 3's\n"
                "<|begin_of_text|>), its text and data.document_separator_token.\n"
                "The shards appear when all are done. Stopped (SIGTERM, SIGINT, SIGUSR2, a file\n"
                "`stop` in <output>.unfinished, run.time_limit) it keeps what is done in that\n"
                "folder and ends with status 75; the same command goes on. A file `status` there\n"
                "makes it say how far it is. --dry-run estimates tokens, space\n"
                "and time.\n",
            .use = config::Use::tokenizing,
            .stops_early = true,
            .run = tokenize},
    Command{
        .name = "convert-tokens",
        .arguments = "file|folder ... output data.tokenizer=FILE [section.key=value ...] "
                     "[--dry-run]",
        .summary = "turn token files of Megatron or llm.c into token shards",
        .details =
            "Reads tokens that another program has made with data.tokenizer, and writes\n"
            "train-*.h5 and validation-*.h5 into the folder that the last word names.\n"
            "  Megatron  a .bin with its .idx (either, or the prefix of both, is named); ids are\n"
            "            integers of 8 to 64 bits, documents those of the index\n"
            "  llm.c     a .bin with a header, GPT-2's (uint16) or Llama 3's (uint32); a document\n"
            "            begins with the separator or, where that is one token, with what\n"
            "            data.begin_of_document means; the file of the next number goes on with\n"
            "            the last document\n"
            "A folder stands for all such files below it. A document becomes what tokenize\n"
            "makes: data.begin_of_document, text, data.document_separator_token. What is there\n"
            "is kept, what is missing added, and the log says so for each file: whether\n"
            "Megatron's were written with --append-eod need not be told. Documents without text\n"
            "are passed over. tokenize.shard_tokens and tokenize.validation_fraction mean what\n"
            "they mean there; memory is that of the longest document.\n"
            "Damaged files and ids that the tokenizer has not end the command, and no shard is\n"
            "left. Stopped (SIGTERM, SIGINT, SIGUSR2) it ends with status 75. The dry\n"
            "run opens all files and says what they are.\n",
        .stops_early = true,
        .run_on_paths_with_input = convert_tokens},
    Command{
        .name = "status",
        .arguments = "run ... [--format FORMAT]",
        .summary = "how runs stand: step, loss, speed, time left, faults",
        .details =
            "Reads run directories, on any host that sees them, also while a job works there,\n"
            "and writes nothing. A job that died without a word is told from one that works:\n"
            "\"no sign of life\" means that status.json is old and, where that can be seen from\n"
            "here, that its process has ended.\n"
            "\n"
            "  espalier status runs/mine\n"
            "  espalier status runs/* --format csv     or markdown, json\n",
        .use = config::Use::document,
        .options = kStatusOptions,
        .has_dry_run = false,
        .run_on_paths_with_input = status},
    Command{.name = "report",
            .arguments = "run ... [--write FILE] [--charts FOLDER]",
            .summary = "one HTML page of runs: curves, where the time went, jobs and events",
            .details =
                "Reads run directories, also of runs that go on or have died, and writes one page\n"
                "(report.html, or --write) that stands alone: no network, no script. Several runs\n"
                "are drawn over each other. --charts writes its charts as SVG files, too.\n"
                "\n"
                "  espalier report runs/mine\n"
                "  espalier report runs/* --write compared.html --charts charts\n",
            .use = config::Use::document,
            .options = kReportOptions,
            .has_dry_run = false,
            .run_on_paths_with_input = report},
    Command{
        .name = "verify-resume",
        .arguments = "run [--steps N] [--from STEP] [section.key=value ...]",
        .summary = "replay steps of a run from a checkpoint and compare every digit",
        .details =
            "Computes verify.steps steps of a run again, from one of its checkpoints, and "
            "compares\n"
            "tokens, loss, gradient norm and learning rate with history.csv, digit by digit; "
            "where\n"
            "a later checkpoint lies within these steps, also every bit of its weights and\n"
            "moments. It writes nothing and takes no lock: the run may go on meanwhile.\n"
            "\n"
            "  mpirun -n 4 espalier verify-resume runs/mine --steps 20 --from 400\n"
            "\n"
            "Without --from it takes the newest checkpoint that so many steps of history follow.\n"
            "The input is the one that the run had then, the grid the recorded one as far as the\n"
            "job has its ranks; [parallel], [device], [memory], training.micro_batch_size and\n"
            "where the data are may be given anew. On another grid, device or SIMD level sums are\n"
            "rounded otherwise: what differs then is said, with the largest relative difference.\n"
            "Status 0: all is equal; 79: a digit or a bit differs.\n",
        .stops_early = true,
        .options = kVerifyOptions,
        .has_dry_run = false,
        .run_on_paths_with_input = verify_resume},
    Command{
        .name = "inspect",
        .arguments = "path ... | --hashes path ... | --difference A B",
        .summary = "print what is in a token shard, checkpoint or tokenizer; compare checkpoints",
        .details =
            "Prints the metadata of each path, and of a checkpoint every tensor and whether the\n"
            "checksums fit. It needs no input file.\n"
            "\n"
            "  --hashes          of checkpoints: a 128-bit XXH3 per tensor and moment, of its f32\n"
            "                    elements row by row: the same for every grid and layout that "
            "holds\n"
            "                    these elements\n"
            "  --difference A B  two checkpoints: tensors that are not in both, and for each "
            "other\n"
            "                    how many elements have other bits and by how much. Status 0: "
            "none;\n"
            "                    79: they differ\n",
        .options = kInspectOptions,
        .has_dry_run = false,
        .run_on_paths_with_input = inspect},
    Command{
        .name = "convert",
        .arguments = "source target [section.key=value ...] [--dry-run]",
        .summary = "turn a Hugging Face model folder into a checkpoint, or back; copy checkpoints",
        .details =
            "source is a folder with config.json and safetensors, and target becomes a\n"
            "checkpoint of weights alone: eval and generate read it, model.initial_weights\n"
            "starts a training from it. Or source is a checkpoint (of any grid; of a run\n"
            "directory the newest one), and target becomes a folder that transformers loads,\n"
            "with the tokenizer: convert.dtype and convert.shard_bytes say how, data.tokenizer\n"
            "where the tokenizer is now. Several ranks share the work; each needs the memory\n"
            "of about one tensor. target must not exist, or be an empty folder.\n"
            "\n"
            "  convert.format=checkpoint        target becomes a copy of a checkpoint in one "
            "file,\n"
            "                                   tensors.h5: one file to keep or to hand on,\n"
            "                                   from which a run continues bit for bit\n"
            "  convert.optimizer_state=false    with it: weights alone, a third of the size\n",
        .run_on_paths_with_input = convert},
    Command{
        .name = "bench",
        .arguments = "input.toml [section.key=value ...] [--dry-run] | --write FILE",
        .summary = "time training steps on random tokens, or measure this host for plans",
        .details =
            "Trains bench.warmup_steps and then bench.steps steps of the model, grid\n"
            "and batches of the input on random tokens, and prints tokens per second,\n"
            "where the time went and how far each part is from what the machine could\n"
            "do (roofline). With plan.device it prints the planned time beside the\n"
            "measured one. It writes nothing and needs no data.\n"
            "\n"
            "  --write FILE  measures this host, with the ranks and threads of this job, and\n"
            "                writes it as a device of `espalier plan`; FILE must be new. It takes\n"
            "                models of its own, no input, one to two minutes, and wants the\n"
            "                machine for itself. device.simd=LEVEL measures a lower level.\n"
            "\n"
            "A host with two cores, as one rank of two threads and as two ranks, and a plan:\n"
            "  OMP_NUM_THREADS=2 espalier bench --write host.toml\n"
            "  OMP_NUM_THREADS=1 mpirun -n 2 espalier bench --write pair.toml\n"
            "  espalier plan time run.toml plan.device=pair.toml parallel.data=2\n"
            "  espalier bench run.toml plan.device=host.toml\n",
        .use = config::Use::bench,
        .options = kBenchOptions,
        .run = bench},
    Command{.name = "bench operators",
            .arguments = kInputArguments,
            .summary = "time each operator of a training step alone",
            .details = "Runs every operator of one block, of the head and of the optimizer at the\n"
                       "shapes that the input gives it, with caches emptied before, and prints\n"
                       "TFLOP/s and GB/s beside the peaks of a large matrix product and a large\n"
                       "copy, measured in the same run. It writes nothing and needs no data.\n",
            .use = config::Use::bench,
            .run = bench_operators},
    Command{.name = "bench attention",
            .arguments = kInputArguments,
            .summary = "time attention by every provider that can be had",
            .details = "Runs attention, forward and backward, at the shape that the input gives\n"
                       "it: with cudnn, wgmma, mma and reference, as far as the GPU and the shape\n"
                       "allow, and says which of them device.attention = \"auto\" takes. It\n"
                       "writes nothing and needs no data.\n",
            .use = config::Use::bench,
            .run = bench_attention},
    Command{
        .name = "bench scaling",
        .arguments = "input.toml [section.key=value ...] [--format FORMAT] [--plot FILE] "
                     "[--dry-run]",
        .summary = "time training steps on more and more ranks of one job",
        .details =
            "Takes the steps of `espalier bench` on 1, 2, 4, ... ranks, or on those of\n"
            "bench.ranks: the first ranks of this job each time, while the others sleep. The\n"
            "tensor group stays as [parallel] has it, and data ranks are what there is more of.\n"
            "bench.scaling = \"strong\" trains the same batch on all; \"weak\" grows the batch\n"
            "with the ranks. The table says speed, efficiency against the fewest ranks, the share\n"
            "of time that ranks wait for one another, and the spread of the steps, with\n"
            "plan.device beside what is planned. It needs no data.\n"
            "\n"
            "  --format FORMAT  text, csv, markdown or json; for the last three all else goes to\n"
            "                   standard error\n"
            "  --plot FILE.svg  speed over ranks, with the ideal; a new file\n"
            "  --dry-run        what would be measured, and what is planned, on one process for\n"
            "                   any bench.ranks\n"
            "\n"
            "  mpirun -n 8 espalier bench scaling run.toml bench.scaling=weak --plot weak.svg\n"
            "  srun ... espalier bench scaling run.toml bench.ranks=[8,16,32,64]\n",
        .use = config::Use::document,
        .options = kScalingOptions,
        .run = bench_scaling},
    Command{
        .name = "bench tokenizer",
        .arguments = "input.toml [section.key=value ...]",
        .summary = "time the tokenizer",
        .details =
            "Encodes the text of tokenize.input (at most 256 MB of it) with data.tokenizer, on\n"
            "one thread and on all of them (OMP_NUM_THREADS), and prints MB/s: cold with empty\n"
            "caches of words, warm with those that a pass over the same text left. Each is the\n"
            "median of five rounds, and the best. It writes nothing and needs no model:\n"
            "  espalier bench tokenizer data.tokenizer=FILE 'tokenize.input=[\"FILE\"]'\n",
        .use = config::Use::encoding,
        .run = bench_tokenizer},
};

}  // namespace

std::span<const Command> command_table() {
  static const std::vector<Command> all = [] {
    std::vector<Command> commands(kCommands.begin(), kCommands.end());
    const auto plans = plan_command_table();
    commands.insert(commands.end(), plans.begin(), plans.end());
    return commands;
  }();
  return all;
}

}  // namespace espalier::commands
