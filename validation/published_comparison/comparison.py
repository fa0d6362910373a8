#!/usr/bin/env python3
"""comparison.py <espalier>: the published comparisons as espalier plan compare makes them, with the
published figures beside, into families.md and optimal_and_chinchilla.md; and in every run input of
inputs/runs what to expect of it, by espalier plan time."""
import json
import pathlib
import re
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
HERE = ROOT / "validation/published_comparison"
FAMILIES = ["gpt2-1.3b", "llama2-1.4b", "llama3-1.5b-optimal", "qwen3-1.5b-guide"]
SEARCHED = ["qwen3-1.8b-optimal", "llama3-1.5b-optimal", "llama3-2.2b-chinchilla"]
# Published parameters in 1e9. All have three digits.
PUBLISHED_PARAMETERS = {"gpt2-1.3b": 1.29, "llama2-1.4b": 1.36, "llama3-1.5b-optimal": 1.54,
                        "qwen3-1.5b-guide": 1.50, "qwen3-2.0b-guide": 2.00}
# Loss, parameters and tokens in 1e9, tokens per parameter over 20.
PUBLISHED_SEARCHES = {"qwen3-1.8b-optimal": (2.339658, 1.830, 81.727, 2.2),
                      "llama3-1.5b-optimal": (2.335120, 1.545, 101.909, 3.3),
                      "llama3-2.2b-chinchilla": (2.351059, 2.224, 61.545, 1.4)}
# The published grid of tokens, linspace(1e9, 1e12, 100), in full.
TOKENS = {"qwen3-1.8b-optimal": 81_727_272_727, "llama3-1.5b-optimal": 101_909_090_909,
          "llama3-2.2b-chinchilla": 61_545_454_545}


def espalier(*words):
    return subprocess.run([PROGRAM, "plan", *map(str, words)], cwd=ROOT, check=True, text=True,
                          stdout=subprocess.PIPE).stdout


def compared(paths, *words):
    return json.loads(espalier("compare", *paths, *words, "--format", "json"))


def model(name):
    return f"inputs/models/{name}.toml"


def counts_of(name):
    """Every way in which the parameters of a shape are counted, by its name."""
    (own,) = compared([model(name)])
    (tied,) = compared([model(name)], "model.tie_word_embeddings=true")
    (untied,) = compared([model(name)], "model.tie_word_embeddings=false")
    embedding = own["vocab_size"] * own["hidden_size"]
    return {"all, tied": tied["parameters"], "all, untied": untied["parameters"],
            "outside embeddings and head": own["parameters_without_embedding"],
            "all but the input embedding": untied["parameters"] - embedding}


def parameters_table():
    lines = ["| shape | published, 1e9 | " + " | ".join(counts_of(FAMILIES[0])) +
             " | a count that rounds to it |", "|---" * 7 + "|"]
    for name, published in PUBLISHED_PARAMETERS.items():
        counts = counts_of(name)
        fitting = [way for way, count in counts.items() if abs(count / 1e9 - published) <= 0.005]
        lines.append(f"| {name} | {published:.2f} | " +
                     " | ".join(f"{count:,}" for count in counts.values()) +
                     f" | {' and '.join(fitting) or '**none**'} |")
    return "\n".join(lines) + "\n"


def searches_table():
    """Of the models, with the published tokens as they are: a run has whole steps."""
    lines = ["| shape | | loss | parameters, 1e9 | tokens, 1e9 | tokens per parameter / 20 |",
             "|---" * 6 + "|"]
    for name, (loss, parameters, tokens, ratio) in PUBLISHED_SEARCHES.items():
        (row,) = compared([model(name)], f"training.tokens={TOKENS[name]}",
                          "training.global_batch_size=1")
        lines.append(f"| {name} | published | {loss:.6f} | {parameters:.3f} | {tokens:.3f} | "
                     f"{ratio:.1f} |")
        lines.append(f"| | here | {row['expected_loss']:.6f} | {row['parameters'] / 1e9:.3f} | "
                     f"{row['tokens'] / 1e9:.3f} | {row['tokens_per_parameter'] / 20:.1f} |")
    return "\n".join(lines) + "\n"


def write_comparisons():
    (HERE / "families.md").write_text(
        "# Four families at about 1.4e9 parameters\n\n"
        "`espalier plan compare` of inputs/models; what differs is bold. Made by comparison.py.\n\n"
        + espalier("compare", *map(model, FAMILIES), "--format", "markdown") +
        "\n## Published counts of parameters\n\n" + parameters_table())
    runs = [f"inputs/runs/{name}-8xb200.toml" for name in SEARCHED]
    devices = ['plan.device=["b200", "a100-80"]', "plan.ranks=8"]
    (HERE / "optimal_and_chinchilla.md").write_text(
        "# Optimal against Chinchilla\n\n"
        "The shapes of the published searches for 1.36e21 FLOPs, each with the best layout on eight\n"
        "B200 and on eight A100. `espalier plan compare` of inputs/runs; what differs is bold. Made\n"
        "by comparison.py.\n\n" + espalier("compare", *runs, *devices, "--format", "markdown") +
        "\n## Published figures\n\n" + searches_table())


def write_expectations():
    """What to expect stands in each input as one line, in front of the command that says it."""
    for path in sorted((ROOT / "inputs/runs").glob("*.toml")):
        text = path.read_text()
        command = re.search(r"# Expected:  .*\n# +by `espalier (plan time (\S+) plan.device=(\S+))`",
                            text)
        if not command:
            continue
        row = json.loads(espalier("time", command[2], f"plan.device={command[3]}", "--format",
                                  "json"))[0]
        said = (f"{row['memory_bytes'] / 2**30:.1f} GiB a GPU, {row['tokens_per_second']:,.0f} "
                f"tokens/s, MFU {100 * row['mfu_causal']:.1f} %, {row['hours']:.1f} h")
        path.write_text(re.sub(r"# Expected:  .*\n", f"# Expected:  {said}\n", text))


PROGRAM = pathlib.Path(sys.argv[1]).resolve()
write_comparisons()
write_expectations()
