#!/usr/bin/env python3
"""Attention by PyTorch's own kernels on one GPU, at the shape of inputs/bench/gpu-qwen3-0.6b.toml:
a bound beside `espalier bench attention` where the program has no cuDNN.

Usage    pytorch_attention.py [--batch 4] [--length 4096] [--heads 16] [--kv-heads 8]
                              [--head-dim 128] [--device cpu]
Writes   `pytorch: attention <kernels>[ backward]: <ms> ms, <TFLOP/s> TFLOP/s` for cuDNN and
         FlashAttention 2, bf16, causal, medians of 30, caches emptied before each; and why one of
         them cannot be had. FLOPs with half of the scores: 2 products forward, 5 backward.
"""
import argparse
import statistics
import time

import torch
import torch.nn.functional as F
from torch.nn.attention import SDPBackend, sdpa_kernel

KERNELS = {"cudnn": SDPBackend.CUDNN_ATTENTION, "flash": SDPBackend.FLASH_ATTENTION}
REPEATS = 30


class Timer:
    """Milliseconds of a call on the device, caches emptied before."""

    def __init__(self, device):
        self.on_gpu = device == "cuda"
        self.flush = torch.empty((256 << 20) if self.on_gpu else 1, dtype=torch.int8, device=device)

    def measure(self, call):
        call()
        times = []
        for _ in range(REPEATS if self.on_gpu else 1):
            self.flush.zero_()
            if self.on_gpu:
                begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
                begin.record()
                call()
                end.record()
                torch.cuda.synchronize()
                times.append(begin.elapsed_time(end))
            else:
                start = time.perf_counter()
                call()
                times.append(1e3 * (time.perf_counter() - start))
        return statistics.median(times)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--length", type=int, default=4096)
    parser.add_argument("--heads", type=int, default=16)
    parser.add_argument("--kv-heads", type=int, default=8)
    parser.add_argument("--head-dim", type=int, default=128)
    parser.add_argument("--device", default="cuda")
    a = parser.parse_args()
    torch.manual_seed(0)

    def tensor(heads):
        return torch.randn(a.batch, heads, a.length, a.head_dim, device=a.device,
                           dtype=torch.bfloat16, requires_grad=True)

    q, k, v, d_o = tensor(a.heads), tensor(a.kv_heads), tensor(a.kv_heads), tensor(a.heads).detach()
    product = a.batch * a.heads * a.length**2 * a.head_dim  # FLOPs of one product, half of it
    timer = Timer(a.device)
    for name, backend in KERNELS.items():
        try:
            with sdpa_kernel(backend):
                def forward():
                    return F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)

                o = forward()

                def backward():
                    torch.autograd.grad(o, (q, k, v), d_o, retain_graph=True)

                with torch.no_grad():
                    ms = timer.measure(forward)
                print(f"pytorch: attention {name}: {ms:.5f} ms, {2 * product / ms / 1e9:.4f} "
                      "TFLOP/s", flush=True)
                ms = timer.measure(backward)
                print(f"pytorch: attention {name} backward: {ms:.5f} ms, "
                      f"{5 * product / ms / 1e9:.4f} TFLOP/s", flush=True)
        except RuntimeError as error:
            print(f"pytorch: attention {name} cannot be had: {str(error).splitlines()[0]}")


if __name__ == "__main__":
    main()
