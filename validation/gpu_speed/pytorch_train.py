#!/usr/bin/env python3
"""Speed of whole training steps in PyTorch on one GPU: the reference of validation/gpu_speed.

A plain and good implementation of Qwen3 (dense, tied): torch.compile, scaled_dot_product_attention,
fused QKV and gate/up projections, fused AdamW. A step is forward, loss, backward, clip, update.

Usage    pytorch_train.py MODEL MODE [--batch 4] [--length 4096] [--warmup 5] [--steps 20]
MODEL    0.6b  1.7b
MODE     autocast (fp32 weights, bf16 arithmetic, as Espalier keeps fp32 master weights)
         bf16 (weights, gradients and AdamW state in bf16: less memory to move, less exact)
Writes   lines `pytorch: <figure> <value>`
"""
import argparse
import contextlib
import statistics
import time

import torch
import torch.nn.functional as F
from torch import nn

#        H     L   A   K  D    F
SHAPES = {"0.6b": (1024, 28, 16, 8, 128, 3072), "1.7b": (2048, 28, 16, 8, 128, 6144)}
V = 151936


def rotate(x, cos, sin):
    """RoPE on (B, heads, S, D) with pairs (i, i + D/2)."""
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-second, first), dim=-1) * sin


class Block(nn.Module):
    def __init__(self, h, a, k, d, f):
        super().__init__()
        self.sizes = a, k, d
        self.input_norm, self.post_norm = nn.RMSNorm(h, eps=1e-6), nn.RMSNorm(h, eps=1e-6)
        self.q_norm, self.k_norm = nn.RMSNorm(d, eps=1e-6), nn.RMSNorm(d, eps=1e-6)
        self.qkv = nn.Linear(h, (a + 2 * k) * d, bias=False)
        self.o = nn.Linear(a * d, h, bias=False)
        self.gate_up = nn.Linear(h, 2 * f, bias=False)
        self.down = nn.Linear(f, h, bias=False)

    def forward(self, x, cos, sin):
        a, k, d = self.sizes
        batch, length, _ = x.shape
        qkv = self.qkv(self.input_norm(x)).view(batch, length, a + 2 * k, d).transpose(1, 2)
        q, key, v = qkv.split((a, k, k), dim=1)
        q, key = rotate(self.q_norm(q), cos, sin), rotate(self.k_norm(key), cos, sin)
        y = F.scaled_dot_product_attention(q.to(v.dtype), key.to(v.dtype), v, is_causal=True,
                                           enable_gqa=True)
        x = x + self.o(y.transpose(1, 2).reshape(batch, length, a * d))
        gate, up = self.gate_up(self.post_norm(x)).chunk(2, dim=-1)
        return x + self.down(F.silu(gate) * up)


class Qwen3(nn.Module):
    def __init__(self, shape, length):
        super().__init__()
        h, layers, a, k, d, f = shape
        self.embed = nn.Embedding(V, h)
        self.blocks = nn.ModuleList(Block(h, a, k, d, f) for _ in range(layers))
        self.norm = nn.RMSNorm(h, eps=1e-6)
        for weight in self.parameters():
            if weight.dim() > 1:
                nn.init.normal_(weight, std=0.02)
        angles = torch.outer(torch.arange(length, dtype=torch.float32),
                             1.0e6 ** (-torch.arange(0, d, 2, dtype=torch.float32) / d))
        angles = torch.cat((angles, angles), dim=-1)
        self.register_buffer("cos", angles.cos(), persistent=False)
        self.register_buffer("sin", angles.sin(), persistent=False)

    def forward(self, tokens, targets):
        x = self.embed(tokens)
        cos, sin = self.cos.to(x.dtype), self.sin.to(x.dtype)
        for block in self.blocks:
            x = block(x, cos, sin)
        logits = F.linear(self.norm(x), self.embed.weight)  # tied
        return F.cross_entropy(logits.float().flatten(0, 1), targets.flatten())


def gemm_peak(size=8192, repeats=30):
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


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("model", choices=SHAPES)
    parser.add_argument("mode", choices=("autocast", "bf16"))
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--length", type=int, default=4096)
    parser.add_argument("--warmup", type=int, default=5)
    parser.add_argument("--steps", type=int, default=20)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    torch.set_float32_matmul_precision("high")
    peak = gemm_peak()
    shape = SHAPES[arguments.model]
    with torch.device("cuda"):
        model = Qwen3(shape, arguments.length)
    weights = sum(w.numel() for w in model.parameters() if w.dim() > 1)
    flops = 6 * weights + 6 * shape[1] * shape[2] * shape[4] * arguments.length
    if arguments.mode == "bf16":
        model = model.to(torch.bfloat16)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4, betas=(0.9, 0.95), weight_decay=0.1,
                                  fused=True)
    tokens = torch.randint(V, (arguments.batch, arguments.length + 1), device="cuda")
    inputs, targets = tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()
    run = torch.compile(model)
    times = []
    for _ in range(arguments.warmup + arguments.steps):
        torch.cuda.synchronize()
        start = time.perf_counter()
        mixed = torch.autocast("cuda", dtype=torch.bfloat16) if arguments.mode == "autocast" \
            else contextlib.nullcontext()
        with mixed:
            loss = run(inputs, targets)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    rate = inputs.numel() / statistics.median(times[arguments.warmup:])
    print(f"pytorch: version {torch.__version__} on {torch.cuda.get_device_name()}")
    print(f"pytorch: tokens_per_second {rate:.1f}")
    print(f"pytorch: gemm_peak_tflops {peak:.1f}")
    print(f"pytorch: gemm_share {rate * flops / 1e12 / peak:.4f}")
    print(f"pytorch: loss {loss.item():.4f}")
    print(f"pytorch: peak_memory_gib {torch.cuda.max_memory_allocated() / 2**30:.2f}")


if __name__ == "__main__":
    main()
