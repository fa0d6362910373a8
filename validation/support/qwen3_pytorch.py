"""Qwen3 (dense, tied) the way PyTorch is good at it: scaled_dot_product_attention, fused QKV and
gate/up projections, fused AdamW. The reference of validation/host_speed and validation/gpu_speed."""
import contextlib
import time
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import nn


class Shape(NamedTuple):
    """In the letters of src/base/dims.hpp; F is the MLP's."""
    H: int
    L: int
    A: int
    K: int
    D: int
    F: int
    V: int
    S: int


def rotate(x, cos, sin):
    """RoPE on (B, heads, S, D) with pairs (i, i + D/2)."""
    first, second = x.chunk(2, dim=-1)
    return x * cos + torch.cat((-second, first), dim=-1) * sin


class Block(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.shape = shape
        H, A, K, D = shape.H, shape.A, shape.K, shape.D
        self.input_norm, self.post_norm = nn.RMSNorm(H, eps=1e-6), nn.RMSNorm(H, eps=1e-6)
        self.q_norm, self.k_norm = nn.RMSNorm(D, eps=1e-6), nn.RMSNorm(D, eps=1e-6)
        self.qkv = nn.Linear(H, (A + 2 * K) * D, bias=False)
        self.o = nn.Linear(A * D, H, bias=False)
        self.gate_up = nn.Linear(H, 2 * shape.F, bias=False)
        self.down = nn.Linear(shape.F, H, bias=False)

    def forward(self, x, cos, sin):
        A, K, D = self.shape.A, self.shape.K, self.shape.D
        batch, length, _ = x.shape
        qkv = self.qkv(self.input_norm(x)).view(batch, length, A + 2 * K, D).transpose(1, 2)
        q, k, v = qkv.split((A, K, K), dim=1)
        q, k = rotate(self.q_norm(q), cos, sin), rotate(self.k_norm(k), cos, sin)
        # Under autocast the norms and RoPE come out in fp32; attention is to run in v's type.
        y = F.scaled_dot_product_attention(q.to(v.dtype), k.to(v.dtype), v, is_causal=True,
                                           enable_gqa=True)
        x = x + self.o(y.transpose(1, 2).reshape(batch, length, A * D))
        gate, up = self.gate_up(self.post_norm(x)).chunk(2, dim=-1)
        return x + self.down(F.silu(gate) * up)


class Qwen3(nn.Module):
    def __init__(self, shape):
        super().__init__()
        self.embed = nn.Embedding(shape.V, shape.H)
        self.blocks = nn.ModuleList(Block(shape) for _ in range(shape.L))
        self.norm = nn.RMSNorm(shape.H, eps=1e-6)
        for weight in self.parameters():
            if weight.dim() > 1:
                nn.init.normal_(weight, std=0.02)
        angles = torch.outer(torch.arange(shape.S, dtype=torch.float32),
                             1.0e6 ** (-torch.arange(0, shape.D, 2, dtype=torch.float32) / shape.D))
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


def flops_per_token(model, shape):
    """Canonical: 6 per weight of a matrix product (LM head once), causal attention counted half."""
    matrices = sum(w.numel() for w in model.parameters() if w.dim() > 1)  # the embedding is the head
    return 6 * matrices + 6 * shape.L * shape.A * shape.D * shape.S


def train(shape, device, batch, num_steps, autocast=False, bf16=False, compiled=True):
    """(seconds of every step, losses, FLOPs per token) on one fixed batch of random tokens. A step
    is forward, loss, backward, clip, update. `bf16`: weights and AdamW's state in bf16, too."""
    synchronize = torch.cuda.synchronize if device == "cuda" else lambda: None
    torch.manual_seed(0)
    with torch.device(device):
        model = Qwen3(shape)
        tokens = torch.randint(shape.V, (batch, shape.S + 1))
    flops = flops_per_token(model, shape)
    if bf16:
        model = model.to(torch.bfloat16)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4, betas=(0.9, 0.95), weight_decay=0.1,
                                  fused=True)
    inputs, targets = tokens[:, :-1].contiguous(), tokens[:, 1:].contiguous()
    run = torch.compile(model) if compiled else model
    times, losses = [], []
    for _ in range(num_steps):
        synchronize()
        start = time.perf_counter()
        with torch.autocast(device, dtype=torch.bfloat16) if autocast else contextlib.nullcontext():
            loss = run(inputs, targets)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        losses.append(loss.item())
        synchronize()
        times.append(time.perf_counter() - start)
    return times, losses, flops
