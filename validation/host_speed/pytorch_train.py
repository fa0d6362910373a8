#!/usr/bin/env python3
"""Speed of whole training steps in PyTorch on a CPU: the reference of validation/host_speed.

The model of inputs/bench/host-42m.toml (Qwen3 dense, 42.0M parameters) by
validation/support/qwen3_pytorch.py, with and without torch.compile.

Usage    pytorch_train.py MODE [--threads 2] [--warmup 2] [--steps 5] [--batch 4] [--json FILE]
         pytorch_train.py gemm [--threads 2]         only the GEMM peak
MODE     fp32-eager  fp32-compiled  autocast-eager  autocast-compiled  bf16-compiled
         (autocast: fp32 weights, bf16 arithmetic; bf16: weights and AdamW state in bf16 too)
Writes   `pytorch: tokens_per_second ...`, `pytorch: gemm_peak_gflops ...`, `pytorch: gemm_share ...`;
         with --json the same and the time of every step.
"""
import argparse
import json
import math
import pathlib
import platform
import resource
import statistics
import sys
import time

import torch

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from support.qwen3_pytorch import Shape, train  # noqa: E402

SHAPE = Shape(H=512, L=8, A=8, K=4, D=64, F=1536, V=32768, S=512)
MODES = ("fp32-eager", "fp32-compiled", "autocast-eager", "autocast-compiled", "bf16-compiled")


def gemm_peak(dtype, size=2048, repeats=9):
    a = torch.randn(size, size).to(dtype)
    b = torch.randn(size, size).to(dtype)
    out = torch.empty(size, size, dtype=dtype)
    best = math.inf
    for _ in range(repeats):
        start = time.perf_counter()
        torch.mm(a, b, out=out)
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best / 1e9


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("mode", choices=MODES + ("gemm",))
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--warmup", type=int, default=2)
    parser.add_argument("--steps", type=int, default=5)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--json")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)

    if arguments.mode == "gemm":
        for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
            print(f"pytorch: gemm_peak_gflops_{name} {gemm_peak(dtype):.1f}")
        return

    peak = gemm_peak(torch.float32 if arguments.mode.startswith("fp32") else torch.bfloat16)
    precision, how = arguments.mode.split("-")
    times, losses, flops = train(SHAPE, "cpu", arguments.batch, arguments.warmup + arguments.steps,
                                 autocast=precision == "autocast", bf16=precision == "bf16",
                                 compiled=how == "compiled")
    times = times[arguments.warmup:]
    speed = arguments.batch * SHAPE.S / statistics.median(times)
    result = dict(mode=arguments.mode, tokens_per_second=speed, gemm_peak_gflops=peak,
                  gemm_share=speed * flops / 1e9 / peak, step_seconds=times, loss=losses[-1],
                  peak_memory_mib=resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
                  threads=arguments.threads, torch=torch.__version__,
                  machine=platform.processor() or platform.machine())
    for key in ("tokens_per_second", "gemm_peak_gflops", "gemm_share", "peak_memory_mib", "loss"):
        print(f"pytorch: {key} {result[key]:.4g}" if key != "tokens_per_second"
              else f"pytorch: {key} {result[key]:.1f}")
    if arguments.json:
        with open(arguments.json, "w") as file:
            json.dump(result, file, indent=1)


if __name__ == "__main__":
    main()
