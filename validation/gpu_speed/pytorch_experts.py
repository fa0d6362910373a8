#!/usr/bin/env python3
"""Speed of whole training steps of a Qwen3-MoE in transformers on one GPU: the reference of
validation/gpu_speed for experts.

The model of inputs/bench/gpu-qwen3-moe.toml as transformers' Qwen3MoeForCausalLM, its experts by
torch's grouped product, compiled; fused AdamW.

Usage    pytorch_experts.py MODE [--batch 4] [--length 4096] [--layers 6] [--warmup 5] [--steps 20]
MODE     autocast (fp32 weights, bf16 arithmetic, as Espalier keeps fp32 master weights)
         bf16 (weights, gradients and AdamW state in bf16: less memory to move, less exact)
Writes   lines `pytorch: <figure> <value>`. A batch that the GPU has no memory for is halved, and
         `pytorch: batch` says what was measured. --device cpu --tiny is a warm-up without a GPU.
"""
import argparse
import contextlib
import gc
import pathlib
import statistics
import sys
import time

import torch
from transformers import Qwen3MoeConfig, Qwen3MoeForCausalLM

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from pytorch_train import gemm_peak  # noqa: E402

SHAPE = dict(vocab_size=151936, hidden_size=2048, intermediate_size=6144, num_attention_heads=32,
             num_key_value_heads=4, head_dim=128, num_experts=128, num_experts_per_tok=8,
             moe_intermediate_size=768)
TINY = dict(SHAPE, vocab_size=512, hidden_size=64, num_attention_heads=4, head_dim=16,
            num_experts=8, num_experts_per_tok=2, moe_intermediate_size=32)


def flops_per_token(c, length):
    """6 per weight of a matrix product that a token meets, causal attention counted half."""
    attention = c.hidden_size * c.head_dim * (2 * c.num_attention_heads + 2 * c.num_key_value_heads)
    experts = 3 * c.num_experts_per_tok * c.hidden_size * c.moe_intermediate_size
    router = c.hidden_size * c.num_experts
    weights = c.num_hidden_layers * (attention + experts + router) + c.vocab_size * c.hidden_size
    return 6 * weights + 6 * c.num_hidden_layers * c.num_attention_heads * c.head_dim * length


def train(arguments, batch):
    """(seconds of every step, FLOPs per token) on one batch of random tokens. A step is forward,
    loss with the balance loss, backward, clip, update."""
    torch.manual_seed(0)
    config = Qwen3MoeConfig(**(TINY if arguments.tiny else SHAPE), norm_topk_prob=True,
                            num_hidden_layers=arguments.layers, tie_word_embeddings=False,
                            router_aux_loss_coef=1e-3, output_router_logits=True, use_cache=False,
                            max_position_embeddings=max(arguments.length, 4096),
                            attn_implementation="sdpa", experts_implementation="grouped_mm")
    with torch.device(arguments.device):
        model = Qwen3MoeForCausalLM(config)
        tokens = torch.randint(config.vocab_size, (batch, arguments.length))
    if arguments.mode == "bf16":
        model = model.to(torch.bfloat16)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-4, betas=(0.9, 0.95), weight_decay=0.1,
                                  fused=True)
    run = torch.compile(model)
    synchronize = torch.cuda.synchronize if arguments.device == "cuda" else lambda: None
    times = []
    for _ in range(arguments.warmup + arguments.steps):
        synchronize()
        start = time.perf_counter()
        with (torch.autocast(arguments.device, dtype=torch.bfloat16)
              if arguments.mode == "autocast" else contextlib.nullcontext()):
            loss = run(input_ids=tokens, labels=tokens).loss
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        loss.item()
        synchronize()
        times.append(time.perf_counter() - start)
    return times[arguments.warmup:], flops_per_token(config, arguments.length)


def train_what_fits(arguments):
    batch = arguments.batch
    while True:
        try:
            return batch, *train(arguments, batch)
        except torch.OutOfMemoryError:
            if batch == 1:
                raise
        # Outside the handler, which still holds the failed step's tensors.
        batch //= 2
        print(f"no memory for it; now with a batch of {batch}", flush=True)
        gc.collect()
        torch._dynamo.reset()
        torch.cuda.empty_cache()


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("mode", choices=("autocast", "bf16"))
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--length", type=int, default=4096)
    parser.add_argument("--layers", type=int, default=6)
    parser.add_argument("--warmup", type=int, default=5)
    parser.add_argument("--steps", type=int, default=20)
    parser.add_argument("--device", default="cuda")
    parser.add_argument("--tiny", action="store_true")
    arguments = parser.parse_args()
    torch.set_float32_matmul_precision("high")
    peak = gemm_peak() if arguments.device == "cuda" else 1.0
    batch, times, flops = train_what_fits(arguments)
    rate = batch * arguments.length / statistics.median(times)
    print(f"pytorch: version {torch.__version__}")
    print(f"pytorch: batch {batch}")
    print(f"pytorch: tokens_per_second {rate:.1f}")
    print(f"pytorch: gemm_peak_tflops {peak:.1f}")
    print(f"pytorch: gemm_share {rate * flops / 1e12 / peak:.4f}")
    if arguments.device == "cuda":
        print(f"pytorch: peak_memory_gib {torch.cuda.max_memory_allocated() / 2**30:.2f}")


if __name__ == "__main__":
    main()
