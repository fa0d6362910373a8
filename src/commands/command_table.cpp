#include <array>

#include "commands/commands.hpp"

namespace espalier::commands {
namespace {

constexpr std::string_view kInputArguments = "input.toml [section.key=value ...] [--dry-run]";

const std::array kCommands = {
    Command{.name = "train",
            .arguments = kInputArguments,
            .summary = "pretrain a model, or continue its newest checkpoint",
            .details =
                "Trains the model of [model] on the token shards of [data]. When output.directory\n"
                "holds a complete checkpoint, the run continues from it, on any grid. Before the\n"
                "end of the time limit, or when it is asked to stop (SIGTERM, SIGUSR2), it writes\n"
                "a checkpoint and ends with status 75: submit the same command again.\n"
                "\n"
                "--dry-run on one process prints the resolved input, the grid and the memory plan\n"
                "for parallel.tensor x parallel.data ranks, whatever machine it runs on.\n",
            .use = config::Use::training,
            .run = train},
    Command{.name = "eval",
            .arguments = kInputArguments,
            .summary = "loss and perplexity of a checkpoint",
            .details =
                "Evaluates evaluation.checkpoint (empty: the newest of output.directory) on the\n"
                "token shards of data.validation, or on the text file evaluation.text. [model],\n"
                "training.sequence_length and training.dtype are the checkpoint's; the grid is\n"
                "what the job has. The end of a text that fills no sequence is left out.\n",
            .use = config::Use::evaluation,
            .run = eval},
    Command{.name = "generate",
            .arguments = kInputArguments,
            .summary = "continue a text with a checkpoint",
            .details =
                "Continues generate.prompt with generate.checkpoint (empty: the newest of\n"
                "output.directory), sampling as [generate] says. The model is the checkpoint's.\n",
            .use = config::Use::generation,
            .run = generate},
    Command{.name = "tokenize",
            .arguments = "input.toml [section.key=value ...]",
            .summary = "turn text into token shards",
            .details =
                "Reads tokenize.input (text or JSON lines), encodes it with data.tokenizer\n"
                "and writes train-*.h5 and validation-*.h5 into tokenize.output.\n"
                "Plain text need not be valid UTF-8: each maximal ill-formed part counts as\n"
                "U+FFFD (Unicode section 3.9, as Python's errors=\"replace\"). JSON lines\n"
                "must be valid: a bad line ends the command with its file and line.\n",
            .use = config::Use::tokenizing,
            .run = tokenize},
    Command{.name = "inspect",
            .arguments = "path ...",
            .summary = "print what is in a token shard, checkpoint or tokenizer",
            .details = "Prints the metadata of each path. It needs no input file.\n",
            .run_on_paths = inspect},
    Command{.name = "bench",
            .arguments = kInputArguments,
            .summary = "time training steps on random tokens",
            .details = "Trains bench.warmup_steps and then bench.steps steps of the model, grid\n"
                       "and batches of the input on random tokens, and prints tokens per second\n"
                       "and where the time went. It writes nothing and needs no data.\n",
            .use = config::Use::bench,
            .run = bench},
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
  return kCommands;
}

}  // namespace espalier::commands
