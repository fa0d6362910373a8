#!/usr/bin/env python3
"""Espalier and PyTorch in turn on the same GPU; see README.md.

    compare.py <program> <folder of inputs> [--models 0.6b 1.7b moe] [--rounds 3] [--batch 4]

<program>: build/espalier, or a bundle's run.sh followed by espalier, in quotes.
"""
import argparse
import pathlib
import re
import shlex
import statistics
import subprocess
import sys

HERE = pathlib.Path(__file__).parent
BOUNDS = {"0.6b": 1.15, "1.7b": 1.15}  # of experts the ratio is told and nothing is claimed


def pytorch(model, mode, batch):
    script = ["pytorch_experts.py"] if model == "moe" else ["pytorch_train.py", model]
    return [sys.executable, "-B", str(HERE / script[0]), *script[1:], mode, "--batch", str(batch)]


def figures(command, prefix):
    done = subprocess.run(command, capture_output=True, text=True)
    text = done.stdout + done.stderr
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}: status {done.returncode}\n{text[-3000:]}")
    return {k: float(v) for k, v in re.findall(rf"{prefix}: (\w+) ([\d.]+)", text)}, text


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("program")
    parser.add_argument("inputs", type=pathlib.Path)
    parser.add_argument("--models", nargs="+", default=["0.6b", "1.7b", "moe"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--batch", type=int, default=4)
    arguments = parser.parse_args()
    missed = False
    print("| model | program | tokens/s, median of rounds | least, most | share of own GEMM peak |")
    print("|---|---|---|---|---|")
    for model in arguments.models:
        rates, shares = {}, {}
        for _ in range(arguments.rounds):
            for name in ["Espalier", "PyTorch autocast", "PyTorch bf16"]:
                if name == "Espalier":
                    found, text = figures(
                        [*shlex.split(arguments.program), "bench",
                         str(arguments.inputs / f"bench/gpu-qwen3-{model}.toml"),
                         "device.backend=cuda", f"training.micro_batch_size={arguments.batch}",
                         f"training.global_batch_size={arguments.batch}"], "bench")
                    (pathlib.Path.cwd() / f"espalier-{model}.log").write_text(text)
                else:
                    found, _ = figures(pytorch(model, name.split()[1], arguments.batch), "pytorch")
                rates.setdefault(name, []).append(found["tokens_per_second"])
                shares.setdefault(name, []).append(found["gemm_share"])
        for name, values in rates.items():
            print(f"| Qwen3-{model} | {name} | {statistics.median(values):,.0f} | "
                  f"{min(values):,.0f}, {max(values):,.0f} | "
                  f"{100 * statistics.median(shares[name]):.1f} % |")
        ours = statistics.median(rates["Espalier"])
        theirs = max(statistics.median(v) for k, v in rates.items() if k != "Espalier")
        bound = BOUNDS.get(model)
        print(f"Qwen3-{model}: {ours / theirs:.3f} times PyTorch at its best"
              f"{f' (bound {bound})' if bound else ''}\n")
        missed = missed or (bound is not None and ours < bound * theirs)
    sys.exit(1 if missed else 0)


if __name__ == "__main__":
    main()
