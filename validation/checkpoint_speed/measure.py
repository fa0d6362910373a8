#!/usr/bin/env python3
"""Measures what a checkpoint costs beside fio on the same disk.

Usage: measure.py --espalier PROGRAM --folder FOLDER --data SHARDS [--ranks 1 2] [--repeat 3]

For each number of ranks and each layout: fio writes as many bytes, sequentially, by as many
processes, with an fsync at the end (buffered, and direct for comparison) and reads them from a cold
cache; then a run saves five times beside its steps and is continued from a cold cache. Printed per
case: medians of the saves' bandwidth over fio's, what the training waited over the time to write,
and the bandwidth of reading over fio's. The cold cache comes from /proc/sys/vm/drop_caches (root).
"""
import argparse
import json
import os
import pathlib
import re
import shutil
import statistics
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]
INPUT = ROOT / "inputs/tests/tiny.toml"
# 85 million parameters: 1.0 GB of weights and moments.
MODEL = ["model.hidden_size=1024", "model.intermediate_size=3072", "model.num_hidden_layers=6",
         "model.num_attention_heads=16", "model.num_key_value_heads=8", "model.head_dim=64",
         "model.vocab_size=16384", "training.sequence_length=32"]


def cold_cache():
    os.sync()
    pathlib.Path("/proc/sys/vm/drop_caches").write_text("3\n")


def fio(folder, kind, jobs, size, direct):
    """Bytes per second of all jobs together."""
    words = ["fio", "--name=job", f"--directory={folder}", f"--rw={kind}", "--bs=1M",
             f"--numjobs={jobs}", f"--size={size // jobs}", "--ioengine=psync",
             f"--direct={int(direct)}", "--group_reporting", "--output-format=json", "--thread",
             *(["--end_fsync=1"] if kind == "write" else [])]
    result = json.loads(subprocess.run(words, check=True, capture_output=True, text=True).stdout)
    return result["jobs"][0][kind]["bw_bytes"]


def run(options, ranks, directory, *keys):
    words = ["mpirun", "--oversubscribe", "--bind-to", "none", "-n", str(ranks),
             options.espalier, "train", INPUT, *MODEL, f"data.train={options.data}",
             f"data.tokenizer={ROOT / 'inputs/tests/bytes.tiktoken'}",
             f"output.directory={directory}", "schedule.warmup_steps=0", "training.global_batch_size=2", "checkpoint.keep=1", *keys]
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True,
                          env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert done.returncode in (0, 75), done.stdout + done.stderr
    return done.stdout


def saves(directory):
    with open(directory / "events.jsonl") as file:
        events = [json.loads(line) for line in file]
    return [event for event in events if event["event"] == "checkpoint"]


def measure(options, ranks, layout):
    folder = pathlib.Path(options.folder)
    directory = folder / "run"
    shutil.rmtree(directory, ignore_errors=True)
    steps = options.steps_between * options.saves
    keys = [f"checkpoint.layout=\"{layout}\"", f"checkpoint.interval={options.steps_between}",
            "checkpoint.at_end=false", f"training.steps={steps + options.steps_between - 1}"]
    run(options, ranks, directory, *keys)
    of_run = saves(directory)
    size = int(of_run[0]["bytes"])
    write = statistics.median(save["bytes"] / save["write_s"] for save in of_run)
    write_s = statistics.median(save["write_s"] for save in of_run)
    stall_s = statistics.median(save["stall_s"] for save in of_run)
    scratch = folder / "fio"
    buffered, direct, reading = [], [], []
    for _ in range(options.repeat):
        shutil.rmtree(scratch, ignore_errors=True)
        scratch.mkdir(parents=True)
        buffered.append(fio(scratch, "write", ranks, size, False))
        cold_cache()
        reading.append(fio(scratch, "read", ranks, size, False))
        shutil.rmtree(scratch)
        scratch.mkdir()
        direct.append(fio(scratch, "write", ranks, size, True))
    shutil.rmtree(scratch)
    own_reading = []
    for _ in range(options.repeat):
        cold_cache()
        output = run(options, ranks, directory, *keys, "run.stop_after=1", "checkpoint.keep=9")
        own_reading.append(size / float(re.search(r"was read in ([0-9.]+) s", output).group(1)))
        # The stop saved a step of its own: the next reads the same checkpoint again.
        for path in (directory / "checkpoints").iterdir():
            if path.name != f"step-{steps:08d}":
                shutil.rmtree(path)
    own_read = statistics.median(own_reading)
    fio_write, fio_read = statistics.median(buffered), statistics.median(reading)
    print(f"{ranks} rank(s), {layout:6}: {size / 1e9:.2f} GB in {write_s:.2f} s = "
          f"{write / 1e6:.0f} MB/s = {100 * write / fio_write:.0f} % of fio's "
          f"{fio_write / 1e6:.0f} (direct {statistics.median(direct) / 1e6:.0f}); "
          f"waited {stall_s:.3f} s = {100 * stall_s / write_s:.1f} %; read at "
          f"{own_read / 1e6:.0f} MB/s = {100 * own_read / fio_read:.0f} % of fio's "
          f"{fio_read / 1e6:.0f}", flush=True)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--espalier", default=str(ROOT / "build/espalier"))
    parser.add_argument("--folder", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--layouts", nargs="+", default=["ranks", "shared"])
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--saves", type=int, default=5)
    parser.add_argument("--steps-between", type=int, default=8)
    options = parser.parse_args()
    for ranks in options.ranks:
        for layout in options.layouts:
            measure(options, ranks, layout)


if __name__ == "__main__":
    main()
