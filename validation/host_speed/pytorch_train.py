#!/usr/bin/env python3
"""Speed of whole training steps in PyTorch on a CPU: the reference of validation/host_speed.

A plain and good implementation of the model of inputs/bench/host-42m.toml (Qwen3 dense, 42.0M
parameters): scaled_dot_product_attention, gradient clipping, fused AdamW, optionally torch.compile.
A step is forward, loss, backward, clip, update, zero the gradients, on a fixed batch.

Usage    pytorch_train.py MODE [--threads 2] [--warmup 2] [--steps 5] [--batch 4] [--json FILE]
         pytorch_train.py gemm [--threads 2]         only the GEMM peak
MODE     fp32-eager  fp32-compiled  autocast-eager  autocast-compiled  bf16-compiled
         (autocast: fp32 weights, bf16 arithmetic; bf16: weights and AdamW state in bf16 too)
Writes   `pytorch: tokens_per_second ...`, `pytorch: gemm_peak_gflops ...`, `pytorch: gemm_share ...`;
         with --json the same and the time of every step.
"""
import argparse
import contextlib
import json
import math
import platform
import resource
import statistics
import time

import torch
import torch.nn.functional as F
from torch import nn

H, L, A, K, D, FFN, V, S = 512, 8, 8, 4, 64, 1536, 32768, 512
MODES = ("fp32-eager", "fp32-compiled", "autocast-eager", "autocast-compiled", "bf16-compiled")


def rotate(x, cos, sin):
    """RoPE on (B, heads, S, D) with pairs (i, i + D/2)."""
    first, second = x.chunk(2, dim=-1)
    rotated = torch.cat((-second, first), dim=-1)
    return x * cos + rotated * sin


class Block(nn.Module):
    def __init__(self):
        super().__init__()
        self.input_norm, self.post_norm = nn.RMSNorm(H, eps=1e-6), nn.RMSNorm(H, eps=1e-6)
        self.q_norm, self.k_norm = nn.RMSNorm(D, eps=1e-6), nn.RMSNorm(D, eps=1e-6)
        self.qkv = nn.Linear(H, (A + 2 * K) * D, bias=False)
        self.o = nn.Linear(A * D, H, bias=False)
        self.gate_up = nn.Linear(H, 2 * FFN, bias=False)
        self.down = nn.Linear(FFN, H, bias=False)

    def forward(self, x, cos, sin):
        batch, length, _ = x.shape
        qkv = self.qkv(self.input_norm(x)).view(batch, length, A + 2 * K, D).transpose(1, 2)
        q, k, v = qkv.split((A, K, K), dim=1)
        q = rotate(self.q_norm(q), cos, sin)
        k = rotate(self.k_norm(k), cos, sin)
        # Under autocast the norms and RoPE come out in fp32; attention is to run in v's type.
        q, k = q.to(v.dtype), k.to(v.dtype)
        y = F.scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)
        x = x + self.o(y.transpose(1, 2).reshape(batch, length, A * D))
        gate, up = self.gate_up(self.post_norm(x)).chunk(2, dim=-1)
        return x + self.down(F.silu(gate) * up)


class Qwen3(nn.Module):
    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(V, H)
        self.blocks = nn.ModuleList(Block() for _ in range(L))
        self.norm = nn.RMSNorm(H, eps=1e-6)
        for weight in self.parameters():
            if weight.dim() > 1:
                nn.init.normal_(weight, std=0.02)
        angles = torch.outer(torch.arange(S, dtype=torch.float32),
                             1.0e6 ** (-torch.arange(0, D, 2, dtype=torch.float32) / D))
        angles = torch.cat((angles, angles), dim=-1)
        self.cos, self.sin = angles.cos(), angles.sin()

    def forward(self, tokens, targets):
        x = self.embed(tokens)
        cos, sin = self.cos.to(x.dtype), self.sin.to(x.dtype)
        for block in self.blocks:
            x = block(x, cos, sin)
        logits = F.linear(self.norm(x), self.embed.weight)  # tied
        return F.cross_entropy(logits.float().flatten(0, 1), targets.flatten())


def flops_per_token(model):
    """Canonical: 6 per weight of a matrix product (LM head once), causal attention counted half."""
    matrices = sum(w.numel() for w in model.parameters())  # tied: the embedding is the LM head
    return 6 * matrices + 6 * L * A * D * S


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


def measure(mode, batch, warmup, steps):
    torch.manual_seed(0)
    model = Qwen3()
    flops = flops_per_token(model)
    if mode == "bf16-compiled":
        model = model.to(torch.bfloat16)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4, betas=(0.9, 0.95),
                                  weight_decay=0.1, fused=True)
    tokens = torch.randint(V, (batch, S + 1))
    inputs, targets = tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()
    run = torch.compile(model) if mode.endswith("compiled") else model

    def autocast():
        wanted = mode.startswith("autocast")
        return torch.autocast("cpu", dtype=torch.bfloat16) if wanted else contextlib.nullcontext()

    times, losses = [], []
    for _ in range(warmup + steps):
        start = time.perf_counter()
        with autocast():
            loss = run(inputs, targets)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(loss.item())
        times.append(time.perf_counter() - start)
    return times[warmup:], losses, flops


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
    times, losses, flops = measure(arguments.mode, arguments.batch, arguments.warmup,
                                   arguments.steps)
    speed = arguments.batch * S / statistics.median(times)
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
