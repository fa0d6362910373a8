#!/usr/bin/env python3
"""Speed of whole training steps in PyTorch on one GPU: the reference of validation/gpu_speed.

Qwen3 of validation/support/qwen3_pytorch.py, compiled.

Usage    pytorch_train.py MODEL MODE [--batch 4] [--length 4096] [--warmup 5] [--steps 20]
MODEL    0.6b  1.7b
MODE     autocast (fp32 weights, bf16 arithmetic, as Espalier keeps fp32 master weights)
         bf16 (weights, gradients and AdamW state in bf16: less memory to move, less exact)
Writes   lines `pytorch: <figure> <value>`. A batch that the GPU has no memory for is halved, and
         `pytorch: batch` says what was measured.
"""
import argparse
import gc
import pathlib
import statistics
import sys

import torch

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))
from support.qwen3_pytorch import Shape, train  # noqa: E402

SHAPES = {"0.6b": dict(H=1024, L=28, A=16, K=8, D=128, F=3072, V=151936),
          "1.7b": dict(H=2048, L=28, A=16, K=8, D=128, F=6144, V=151936)}


def gemm_peak(size=8192, repeats=30):
    """TFLOP/s of the best of several products."""
    a, b = (torch.randn(size, size, device="cuda", dtype=torch.bfloat16) for _ in range(2))
    best = float("inf")
    for _ in range(repeats):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        torch.mm(a, b)
        end.record()
        torch.cuda.synchronize()
        best = min(best, begin.elapsed_time(end))
    return 2 * size**3 / best / 1e9  # ms -> TFLOP/s


def train_what_fits(shape, arguments):
    """The largest batch up to --batch that there is memory for, and what train returns for it."""
    batch = arguments.batch
    while True:
        try:
            return batch, train(shape, "cuda", batch, arguments.warmup + arguments.steps,
                                autocast=arguments.mode == "autocast",
                                bf16=arguments.mode == "bf16")
        except torch.OutOfMemoryError:
            if batch == 1:
                raise
        # Outside the handler, which still holds the failed step's tensors.
        batch //= 2
        gc.collect()
        torch._dynamo.reset()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", choices=SHAPES)
    parser.add_argument("mode", choices=("autocast", "bf16"))
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--length", type=int, default=4096)
    parser.add_argument("--warmup", type=int, default=5)
    parser.add_argument("--steps", type=int, default=20)
    arguments = parser.parse_args()
    torch.set_float32_matmul_precision("high")
    peak = gemm_peak()
    batch, (times, losses, flops) = train_what_fits(
        Shape(**SHAPES[arguments.model], S=arguments.length), arguments)
    rate = batch * arguments.length / statistics.median(times[arguments.warmup:])
    print(f"pytorch: version {torch.__version__} on {torch.cuda.get_device_name()}")
    print(f"pytorch: batch {batch}")
    print(f"pytorch: tokens_per_second {rate:.1f}")
    print(f"pytorch: gemm_peak_tflops {peak:.1f}")
    print(f"pytorch: gemm_share {rate * flops / 1e12 / peak:.4f}")
    print(f"pytorch: loss {losses[-1]:.4f}")
    print(f"pytorch: peak_memory_gib {torch.cuda.max_memory_allocated() / 2**30:.2f}")


if __name__ == "__main__":
    main()
