#!/usr/bin/env python3
"""Speed of whole training steps of Qwen3-MoE in transformers on a CPU: the reference of
validation/moe_speed.

The model of inputs/bench/host-moe.toml as transformers' Qwen3MoeForCausalLM, its experts by
`experts_implementation` (grouped_mm: torch's grouped product), compiled by torch.compile.

Usage    transformers_train.py MODE [--experts grouped_mm] [--threads 2] [--warmup 2] [--steps 5]
MODE     fp32-eager  fp32-compiled  autocast-eager  autocast-compiled  bf16-compiled
         (autocast: fp32 weights, bf16 arithmetic; bf16: weights and AdamW state in bf16 too)
Writes   `pytorch: tokens_per_second ...`, `pytorch: loss ...`, `pytorch: peak_memory_mib ...`
"""
import argparse
import contextlib
import pathlib
import resource
import statistics
import sys
import time
import tomllib

import torch
from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM

INPUT = pathlib.Path(__file__).resolve().parents[2] / "inputs/bench/host-moe.toml"
MODES = ("fp32-eager", "fp32-compiled", "autocast-eager", "autocast-compiled", "bf16-compiled")


def model_of(keys, experts):
    names = ("vocab_size", "hidden_size", "intermediate_size", "num_hidden_layers",
             "num_attention_heads", "num_key_value_heads", "head_dim", "num_experts",
             "num_experts_per_tok", "moe_intermediate_size", "norm_topk_prob",
             "router_aux_loss_coef", "tie_word_embeddings", "max_position_embeddings")
    config = Qwen3MoeConfig(**{name: keys[name] for name in names if name in keys},
                            output_router_logits=True, use_cache=False, attn_implementation="sdpa",
                            experts_implementation=experts)
    return Qwen3MoeForCausalLM(config)


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("mode", choices=MODES)
    parser.add_argument("--experts", default="grouped_mm")
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--warmup", type=int, default=2)
    parser.add_argument("--steps", type=int, default=5)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    torch.manual_seed(1)

    keys = tomllib.loads(INPUT.read_text())
    batch, length = keys["training"]["micro_batch_size"], keys["training"]["sequence_length"]
    precision, how = arguments.mode.split("-")
    model = model_of(keys["model"], arguments.experts)
    if precision == "bf16":
        model = model.to(torch.bfloat16)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4, betas=(0.9, 0.95), weight_decay=0.1,
                                  fused=True)

    def autocast():
        return (torch.autocast("cpu", torch.bfloat16) if precision == "autocast"
                else contextlib.nullcontext())

    forward = torch.compile(model) if how == "compiled" else model
    times = []
    for _ in range(arguments.warmup + arguments.steps):
        tokens = torch.randint(keys["model"]["vocab_size"], (batch, length))
        start = time.perf_counter()
        with autocast():
            loss = forward(input_ids=tokens, labels=tokens).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        times.append(time.perf_counter() - start)
    speed = batch * length / statistics.median(times[arguments.warmup:])
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"pytorch: tokens_per_second {speed:.1f}")
    print(f"pytorch: loss {loss.item():.4g}")
    print(f"pytorch: peak_memory_mib {memory:.4g}")
    print(f"torch {torch.__version__}, steps {[round(t, 3) for t in times]}", file=sys.stderr)


if __name__ == "__main__":
    main()
