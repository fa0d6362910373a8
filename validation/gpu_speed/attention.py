#!/usr/bin/env python3
"""Attention by every provider that can be had, beside cuDNN's; see README.md.

    attention.py <program> <folder of inputs> [--rounds 3] [--shapes NAME ...] [--logs FOLDER]

<program>: build/espalier, or a bundle's run.sh followed by espalier, in quotes. Status 1 when what
training takes is slower than the bound allows, 2 when there was no cuDNN to compare with.
"""
import argparse
import pathlib
import re
import shlex
import statistics
import subprocess
import sys

BOUND = 1.10  # of cuDNN's time
PASSES = ("forward", "backward")
INPUT = "bench/gpu-qwen3-0.6b.toml"

# name: (B, S, A, K, D)
SHAPES = {
    "Qwen3-0.6B": (4, 4096, 16, 8, 128),
    "Qwen3-8B": (2, 4096, 32, 8, 128),
    "Qwen3-0.6B, long": (1, 16384, 16, 8, 128),
    "Llama-3.2-1B": (4, 4096, 32, 8, 64),
}
REHEARSAL = {"tiny": (1, 128, 2, 1, 64)}


def command_of(program, inputs, shape, backend):
    b, s, a, k, d = shape
    return [*shlex.split(program), "bench", "attention", str(inputs / INPUT),
            f"device.backend={backend}", f"training.micro_batch_size={b}",
            f"training.global_batch_size={b}", f"training.sequence_length={s}",
            f"model.num_attention_heads={a}", f"model.num_key_value_heads={k}",
            f"model.head_dim={d}",
            # Attention alone is measured: the rest of the model is small.
            "model.hidden_size=256", "model.intermediate_size=256", "model.vocab_size=1024",
            "training.loss_chunk_tokens=128"]


class Log:
    """What one run of `espalier bench attention` says."""

    def __init__(self, text):
        self.times = {}  # (provider, pass): (ms, TFLOP/s)
        self.notes = set()  # (provider, pass) whose gradients differ from run to run
        for provider, backward, any_order, ms, rate in re.findall(
                r"^bench: attention (\w+)( backward)?(, any order)?: ([\d.]+) ms, ([\d.]+) TFLOP/s",
                text, re.M):
            key = (provider, PASSES[bool(backward)])
            self.times[key] = (float(ms), float(rate))
            if any_order:
                self.notes.add(key)
        auto = re.search(r"^bench: attention auto: (\w+), backward (\w+)", text, re.M)
        self.auto = dict(zip(PASSES, auto.groups())) if auto else {}
        missing = re.search(r"^bench: attention cudnn needs (.*)", text, re.M)
        self.missing = missing.group(1) if missing else ""


def rows_of(name, shape, logs):
    """Markdown rows, and the ratio to cuDNN's time of what `auto` takes, by pass."""
    rows, ratios = [], {}
    label = f"{name}: B {shape[0]}, S {shape[1]}, A {shape[2]}, K {shape[3]}, D {shape[4]}"
    for which in PASSES:
        providers = [p for p, w in logs[0].times if w == which]
        medians = {p: statistics.median(log.times[p, which][0] for log in logs) for p in providers}
        for provider in providers:
            taken = logs[0].auto.get(which) == provider
            ratio = medians[provider] / medians["cudnn"] if "cudnn" in medians else None
            if taken and ratio is not None:
                ratios[which] = ratio
            rate = statistics.median(log.times[provider, which][1] for log in logs)
            notes = (" (auto)" if taken else "") + (
                ", any order of sums" if (provider, which) in logs[0].notes else "")
            rows.append(f"| {label} | {which} | {provider}{notes} | {medians[provider]:.3f} | "
                        f"{rate:.1f} | {'-' if ratio is None else f'{ratio:.3f}'} |")
    return rows, ratios


def verdict(name, logs, ratios):
    """A sentence, and the exit status that it means."""
    if not ratios:
        return f"{name}: not compared, cudnn needs {logs[0].missing or 'to be measured'}", 2
    said = ", ".join(f"{which} {ratios[which]:.3f}" for which in PASSES if which in ratios)
    missed = any(ratio > BOUND for ratio in ratios.values())
    return (f"{name}: what training takes needs {said} times cuDNN's time (bound {BOUND:.2f}"
            f"{', missed' if missed else ''})"), int(missed)


def run(command):
    done = subprocess.run(command, capture_output=True, text=True)
    text = done.stdout + done.stderr
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}: status {done.returncode}\n{text[-3000:]}")
    return text


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("program")
    parser.add_argument("inputs", type=pathlib.Path)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--shapes", nargs="+", choices=[*SHAPES, *REHEARSAL], default=list(SHAPES))
    parser.add_argument("--backend", choices=("cuda", "emulated"), default="cuda",
                        help="emulated: a warm-up, whose times mean nothing")
    parser.add_argument("--logs", type=pathlib.Path, help="keep what the program says there")
    arguments = parser.parse_args()
    print("| shape | pass | provider | ms, median of rounds | TFLOP/s | times cuDNN's |")
    print("|---|---|---|---|---|---|")
    sentences, statuses = [], []
    for name in arguments.shapes:
        shape = {**SHAPES, **REHEARSAL}[name]
        texts = [run(command_of(arguments.program, arguments.inputs, shape, arguments.backend))
                 for _ in range(arguments.rounds)]
        if arguments.logs is not None:
            arguments.logs.mkdir(parents=True, exist_ok=True)
            for i, text in enumerate(texts):
                (arguments.logs / f"{name}.{i}.log").write_text(text)
        logs = [Log(text) for text in texts]
        rows, ratios = rows_of(name, shape, logs)
        print("\n".join(rows), flush=True)
        sentence, status = verdict(name, logs, ratios)
        sentences.append(sentence)
        statuses.append(status)
    print("\n" + "\n".join(sentences))
    sys.exit(1 if 1 in statuses else max(statuses))


if __name__ == "__main__":
    main()
