#!/usr/bin/env python3
"""Trains the runs that validation/loss_law fits a law to, and the larger one that it predicts.

Usage    runs.py PROGRAM DATA OUTPUT [--jobs 2]
PROGRAM  build/espalier
DATA     the folder data/ that jobscripts/quickstart.sh makes (steps 3 and 4 of it): data/english-8k
         holds the token shards of the English text
OUTPUT   a run folder is made in it for each run; one that is finished there is left as it is
         Four shapes by three numbers of tokens, and one run of twice the parameters of the largest
         on more tokens than any. One core each; about 26 minutes of one core in all.
"""
import argparse
import concurrent.futures
import os
import pathlib
import subprocess
import sys

REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
TOKENS_PER_STEP = 8 * 256
#         name: hidden size, layers, heads, head_dim
SHAPES = {"h32": (32, 2, 1, 32), "h64": (64, 2, 1, 64), "h128": (128, 3, 2, 64),
          "h192": (192, 4, 3, 64), "h256": (256, 6, 4, 64)}
RUNS = [("h256", 1600)] + [(shape, steps) for shape in ("h192", "h128", "h64", "h32")
                           for steps in (2000, 1250, 500, 200)]


def train(arguments, shape, steps):
    hidden, layers, heads, head_dim = SHAPES[shape]
    name = f"{shape}-{steps}"
    folder = arguments.output / name
    history = folder / "history.csv"
    if history.exists() and history.read_text().splitlines()[-1].startswith(f"{steps},"):
        return f"{name}: there already"
    # Widths that differ by eight want learning rates that differ: as 1 / width, from the rate of
    # inputs/runs/quickstart.toml at its width. The cosine is as long as the run, as in Hoffmann et
    # al. 2022, section 3: a loss in the middle of a longer schedule is no loss of a shorter run.
    rate = 3.0e-3 * 192 / hidden
    data = arguments.data / "english-8k"
    command = [arguments.program, "train", REPOSITORY / "inputs/runs/quickstart.toml",
               f"run.name={name}", f"model.hidden_size={hidden}",
               f"model.intermediate_size={3 * hidden}", f"model.num_hidden_layers={layers}",
               f"model.num_attention_heads={heads}", f"model.head_dim={head_dim}",
               "training.global_batch_size=8", "training.micro_batch_size=8",
               f"training.steps={steps}", f"training.log_interval={steps // 4}",
               f"optimizer.learning_rate={rate}", "schedule.name=cosine",
               "schedule.decay_steps=0", f"schedule.warmup_steps={steps // 20}",
               f"schedule.min_learning_rate={rate / 10}", f"validation.interval={steps}",
               f"checkpoint.interval={steps}", f"data.train={data / 'train'}",
               f"data.validation={data / 'validation'}",
               f"data.tokenizer={REPOSITORY / 'inputs/tokenizers/english-8k/tokenizer.json'}",
               f"output.directory={folder}"]
    done = subprocess.run(["nice", "-n", "19"] + [str(word) for word in command], text=True,
                          capture_output=True, env=os.environ | {"OMP_NUM_THREADS": "1"})
    if done.returncode != 0:
        return f"{name}: status {done.returncode}\n{done.stdout}{done.stderr}"
    return f"{name}: done"


def main():
    parser = argparse.ArgumentParser(description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("program", type=pathlib.Path)
    parser.add_argument("data", type=pathlib.Path)
    parser.add_argument("output", type=pathlib.Path)
    parser.add_argument("--jobs", type=int, default=2, help="runs at a time")
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True, exist_ok=True)
    failures = 0
    with concurrent.futures.ThreadPoolExecutor(arguments.jobs) as pool:
        for told in pool.map(lambda run: train(arguments, *run), RUNS):
            print(told, flush=True)
            failures += "status" in told
    sys.exit(1 if failures else 0)


if __name__ == "__main__":
    main()
