#!/usr/bin/env python3
"""Measures what a checkpoint costs beside fio on the same disk.

Usage: measure.py --espalier PROGRAM --folder FOLDER --data SHARDS [--ranks 1 2] [--repeat 5]

For each number of ranks and each layout a run saves five times beside its steps and is continued
from a cold cache; around it, fio writes as many bytes, sequentially, by as many processes, with an
fsync at the end (buffered, and direct for comparison) and reads them from a cold cache. Printed per
case: medians of the saves' bandwidth over fio's, what the training waited over the time to write,
and the bandwidth of reading over fio's. The cold cache comes from /proc/sys/vm/drop_caches (root).

Every writer meets fresh blocks: a file made where another was removed may get blocks that a virtual
disk still holds, and is then written several times as fast as one on blocks that it has to find.
Therefore nothing is removed until a case is over, neither by fio nor by the run; a case takes 17 GB.
And every writer meets fresh memory: a virtual machine finds pages of the cache that it has just
dropped at once, and others only when it first touches them, at 0.4 GB/s here. Therefore caches are
dropped for the reading alone, after all writing.
"""
import argparse
import json
import os
import pathlib
import re
import shutil
import statistics
import subprocess
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
INPUT = ROOT / "inputs/tests/tiny.toml"
# 85 million parameters: 1.0 GB of weights and moments.
MODEL = ["model.hidden_size=1024", "model.intermediate_size=3072", "model.num_hidden_layers=6",
         "model.num_attention_heads=16", "model.num_key_value_heads=8", "model.head_dim=64",
         "model.vocab_size=16384", "training.sequence_length=32"]


def cold_cache():
    os.sync()
    pathlib.Path("/proc/sys/vm/drop_caches").write_text("3\n")


def remove(folder):
    """And waits until the file system has given the blocks back (it commits every 5 s)."""
    shutil.rmtree(folder, ignore_errors=True)
    os.sync()
    time.sleep(8)
    os.sync()


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
             f"output.directory={directory}", "schedule.warmup_steps=0", "training.global_batch_size=2", "checkpoint.keep=99",
             *keys]
    done = subprocess.run([str(word) for word in words], capture_output=True, text=True,
                          env=os.environ | {"OMP_NUM_THREADS": "1"})
    assert done.returncode in (0, 75), done.stdout + done.stderr
    return done.stdout


def saves(directory):
    with open(directory / "events.jsonl") as file:
        events = [json.loads(line) for line in file]
    return [event for event in events if event["event"] == "checkpoint"]


def fio_writes(scratch, ranks, size):
    """(buffered, direct) writing of new files, in bytes/s."""
    rates = []
    for kind, direct in (("buffered", False), ("direct", True)):
        folder = scratch / f"{kind}-{len(list(scratch.glob('*')))}"
        folder.mkdir(parents=True)
        time.sleep(4)  # memory that the process before gave back is the host's again
        rates.append(fio(folder, "write", ranks, size, direct))
    return rates


def fio_reads(scratch, ranks, size):
    """Reading of what fio has written, each time from a cold cache."""
    rates = []
    for folder in sorted(scratch.glob("buffered-*")):
        cold_cache()
        time.sleep(4)  # as long as the program takes from its start to its reading
        rates.append(fio(folder, "read", ranks, size, False))
    return rates


def measure(options, ranks, layout):
    folder = pathlib.Path(options.folder)
    directory, scratch = folder / "run", folder / "fio"
    remove(directory)
    remove(scratch)
    steps = options.steps_between * options.saves
    keys = [f"checkpoint.layout=\"{layout}\"", f"checkpoint.interval={options.steps_between}",
            "checkpoint.at_end=false", f"training.steps={steps + options.steps_between - 1}"]
    size = options.bytes
    of_fio = [fio_writes(scratch, ranks, size) for _ in range(options.repeat // 2 + 1)]
    run(options, ranks, directory, *keys)
    of_run = saves(directory)
    assert len(of_run) == options.saves, of_run
    of_fio += [fio_writes(scratch, ranks, size) for _ in range(options.repeat // 2)]
    own_reading = []
    for _ in range(options.repeat):
        cold_cache()
        output = run(options, ranks, directory, *keys, "run.stop_after=1")
        own_reading.append(of_run[0]["bytes"] /
                           float(re.search(r"was read in ([0-9.]+) s", output).group(1)))
        # The stop saved a step of its own: the next reads the same checkpoint again.
        for path in (directory / "checkpoints").iterdir():
            if int(path.name[5:]) > steps:
                shutil.rmtree(path)
    reading = fio_reads(scratch, ranks, size)
    remove(directory)
    remove(scratch)
    own_bytes = of_run[0]["bytes"]
    assert abs(own_bytes / size - 1) < 0.02, (own_bytes, size)
    write = [save["bytes"] / save["write_s"] for save in of_run]
    write_s = statistics.median(save["write_s"] for save in of_run)
    stall_s = statistics.median(save["stall_s"] for save in of_run)
    buffered, direct = ([row[i] for row in of_fio] for i in range(2))
    result = {"ranks": ranks, "layout": layout, "bytes": own_bytes, "write_s": write_s,
              "stall_s": stall_s, "write": write, "read": own_reading, "fio_write": buffered,
              "fio_direct": direct, "fio_read": reading}
    of = {key: statistics.median(result[key])
          for key in ("write", "read", "fio_write", "fio_direct", "fio_read")}

    def spread(key):
        return f"{min(result[key]) / 1e6:.0f} to {max(result[key]) / 1e6:.0f}"

    print(f"{ranks} rank(s), {layout:6}: {own_bytes / 1e9:.2f} GB in {write_s:.2f} s = "
          f"{of['write'] / 1e6:.0f} MB/s ({spread('write')}) = "
          f"{100 * of['write'] / of['fio_write']:.0f} % of fio's {of['fio_write'] / 1e6:.0f} "
          f"({spread('fio_write')}; direct {of['fio_direct'] / 1e6:.0f}); waited {stall_s:.3f} s = "
          f"{100 * stall_s / write_s:.1f} %; read at {of['read'] / 1e6:.0f} MB/s = "
          f"{100 * of['read'] / of['fio_read']:.0f} % of fio's {of['fio_read'] / 1e6:.0f}",
          flush=True)
    return result


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--espalier", default=str(ROOT / "build/espalier"))
    parser.add_argument("--folder", required=True)
    parser.add_argument("--data", required=True)
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--layouts", nargs="+", default=["ranks", "shared"])
    parser.add_argument("--repeat", type=int, default=5)
    parser.add_argument("--saves", type=int, default=5)
    parser.add_argument("--steps-between", type=int, default=8)
    parser.add_argument("--bytes", type=int, default=1_110_000_000, help="of a checkpoint")
    parser.add_argument("--report", help="folder for results.json")
    options = parser.parse_args()
    results = [measure(options, ranks, layout) for ranks in options.ranks
               for layout in options.layouts]
    if options.report:
        pathlib.Path(options.report, "results.json").write_text(json.dumps(results, indent=1) + "\n")


if __name__ == "__main__":
    main()
