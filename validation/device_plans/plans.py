#!/usr/bin/env python3
"""What `espalier train --dry-run device.backend=cuda` says for GPUs that are not here.

    plans.py PROGRAM

Makes token shards from this repository's CONTRIBUTING.md in a folder of its own, and asks for models and grids
on five devices. Prints a row for each: bytes that a rank needs, whether they fit, who would compute
attention, what is missing, and the first remedy that would do. Status 1 when a dry run fails."""
import pathlib
import re
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOKENIZER = ROOT / "inputs/tokenizers/english-8k/tokenizer.json"
DEVICES = [("A6000", 86, 48), ("A100", 80, 40), ("A100", 80, 80), ("H100", 90, 80),
           ("B200", 100, 180)]
SMALL_BATCH = ["training.micro_batch_size=2", "training.global_batch_size=8"]
RUNS = [("qwen3-0.6b", [], SMALL_BATCH), ("qwen3-1.7b", [], SMALL_BATCH),
        ("llama3-1b", [], SMALL_BATCH),
        ("qwen3-8b", ["parallel.tensor=2", "parallel.data=4"], SMALL_BATCH),
        ("llama3-8b", ["parallel.tensor=2", "parallel.data=4"], SMALL_BATCH),
        ("qwen3-30b-a3b", ["parallel.data=8", "parallel.expert=8"],
         ["training.micro_batch_size=1", "training.global_batch_size=8"]),
        ("llama3-70b", ["parallel.tensor=8", "parallel.data=2", "parallel.pipeline=4"],
         ["training.micro_batch_size=1", "training.global_batch_size=32"]),
        ("qwen3-235b-a22b", ["parallel.tensor=2", "parallel.data=16", "parallel.pipeline=8",
                             "parallel.chunks=4", "parallel.expert=32"],
         ["parallel.schedule=interleaved", "training.micro_batch_size=1",
          "training.global_batch_size=512"])]
KEYS = ["device.backend=cuda", "training.sequence_length=4096", "training.steps=1000",
        "training.dtype=bfloat16", "training.loss_chunk_tokens=4096"]


def run(program, *words):
    done = subprocess.run([program, *map(str, words)], stdout=subprocess.PIPE, text=True,
                          stderr=subprocess.STDOUT)
    if done.returncode != 0:
        sys.exit(f"status {done.returncode}: {' '.join(map(str, words))}\n{done.stdout}")
    return done.stdout


def row_of(said):
    fits = re.search(r"fits: .* needs at most ([\d.]+ GiB)", said)
    need = fits or re.search(r"does not fit: rank \d+ needs ([\d.]+ GiB)", said)
    remedy = "" if fits else re.search(r"  (\S.*?) {2,}([\d.]+ GiB) +[\d.]+ \wiB   fits", said)
    attention = re.search(r"attention: forward by (\w+), backward by (\w+)", said)
    missing = re.search(r"missing: (.*)", said)
    return [need[1], "yes" if fits else "no", f"{attention[1]}, {attention[2]}",
            missing[1] if missing else "nothing",
            "" if fits else f"`{remedy[1]}`: {remedy[2]}" if remedy else "none of one key"]


def main():
    program = sys.argv[1]
    with tempfile.TemporaryDirectory() as folder:
        data = pathlib.Path(folder) / "data"
        run(program, "tokenize", f"data.tokenizer={TOKENIZER}",
            f'tokenize.input=["{ROOT / "CONTRIBUTING.md"}"]', f"tokenize.output={data}")
        print("| model | grid | device | GiB | a rank needs | fits | attention forward, backward | "
              "missing | first remedy that fits |")
        print("|---|---|---|---|---|---|---|---|---|")
        for model, grid, batch in RUNS:
            text = pathlib.Path(folder) / f"{model}.toml"
            text.write_text(f'[model]\nfile = "{ROOT / "inputs/models" / model}.toml"\n')
            for device, capability, memory in DEVICES:
                said = run(program, "train", text, "--dry-run", *KEYS, *grid, *batch,
                           f"device.compute_capability={capability}",
                           f"device.memory_gib={memory}", f"data.tokenizer={TOKENIZER}",
                           f"data.train={data}", f"output.directory={folder}/run")
                words = " x ".join(key.split(".")[1].replace("=", " ") for key in grid)
                print("| " + " | ".join([model, words or "1 rank", device, str(memory),
                                         *row_of(said)]) + " |")


main()
