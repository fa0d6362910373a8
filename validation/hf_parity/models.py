"""Tiny random models made with transformers, and what transformers computes for them."""
import copy
import math

import numpy as np
import torch
import transformers
from transformers import (GPT2Config, GPT2LMHeadModel, LlamaConfig, LlamaForCausalLM, Qwen3Config,
                          Qwen3ForCausalLM, Qwen3MoeConfig, Qwen3MoeForCausalLM)

V, S, NUM_SEQUENCES, NUM_STEPS, BATCH = 257, 48, 4, 12, 4
OPTIMIZER = dict(learning_rate=2.0e-3, beta1=0.9, beta2=0.95, eps=1.0e-8, weight_decay=0.1)
WARMUP, MIN_LEARNING_RATE, MAX_GRAD_NORM = 3, 2.0e-4, 1.0

# H is never A*D where the family allows it; V is odd and prime, so no grid divides it.
DECODER = dict(vocab_size=V, hidden_size=48, intermediate_size=80, num_hidden_layers=3,
               num_attention_heads=4, head_dim=16, max_position_embeddings=512, use_cache=True,
               attention_bias=False, attention_dropout=0.0)
QWEN3 = dict(**DECODER, rms_norm_eps=1e-6,
             rope_parameters=dict(rope_type="default", rope_theta=1e6))
LLAMA3 = dict(**DECODER, rms_norm_eps=1e-5, mlp_bias=False)
# The frequencies of D = 16 lie on both sides of the band that is blended.
SCALED = dict(rope_type="llama3", rope_theta=5e5, factor=8.0, low_freq_factor=1.0,
              high_freq_factor=4.0, original_max_position_embeddings=64)
GPT2 = dict(vocab_size=V, n_positions=512, n_embd=48, n_layer=3, n_head=4, n_inner=80,
            activation_function="gelu_new", resid_pdrop=0.0, embd_pdrop=0.0, attn_pdrop=0.0)

CASES = {
    "qwen3, K=1": lambda: Qwen3Config(**QWEN3, num_key_value_heads=1, tie_word_embeddings=False),
    "qwen3, tied": lambda: Qwen3Config(**QWEN3, num_key_value_heads=2, tie_word_embeddings=True),
    "llama-3.2, tied": lambda: LlamaConfig(**LLAMA3, num_key_value_heads=2,
                                           tie_word_embeddings=True, rope_parameters=SCALED),
    "llama-3, K=1": lambda: LlamaConfig(
        **LLAMA3, num_key_value_heads=1, tie_word_embeddings=False,
        rope_parameters=dict(rope_type="default", rope_theta=5e5)),
    "llama-2": lambda: LlamaConfig(
        **LLAMA3, num_key_value_heads=4, tie_word_embeddings=False,
        rope_parameters=dict(rope_type="default", rope_theta=1e4)),
    "gpt2, tied": lambda: GPT2Config(**GPT2, tie_word_embeddings=True),
}
CLASSES = {Qwen3Config: Qwen3ForCausalLM, Qwen3MoeConfig: Qwen3MoeForCausalLM,
           LlamaConfig: LlamaForCausalLM, GPT2Config: GPT2LMHeadModel}


def make(name, seed=20):
    return of_config(CASES[name](), seed)


def of_config(config, seed):
    config.bos_token_id = config.eos_token_id = 256
    config._attn_implementation = "eager"
    model = CLASSES[type(config)](config).to(torch.float32).eval()
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter, weight in model.named_parameters():
            if weight.dim() > 1:  # large enough that the softmax is not flat
                weight.copy_(0.15 * torch.randn(weight.shape, generator=generator))
            elif parameter.endswith(".bias"):
                weight.copy_(0.1 * torch.randn(weight.shape, generator=generator))
            else:  # norms away from 1, or a missing factor would not show
                weight.copy_(0.5 + torch.rand(weight.shape, generator=generator))
    return model


def token_stream(length, seed):
    """Tokens with some order in them, so that the losses fall."""
    random = np.random.default_rng(seed)
    tokens = [int(random.integers(V))]
    while len(tokens) < length:
        jump = random.random() < 0.3
        tokens.append(int(random.integers(V)) if jump else (3 * tokens[-1] + 7) % V)
    return np.array(tokens, dtype=np.uint32)


def samples_of(stream, first, count):
    return np.stack([stream[i * S:i * S + S + 1] for i in range(first, first + count)])


def forward(model, samples):
    tokens = torch.from_numpy(samples.astype(np.int64))
    logits = model(input_ids=tokens[:, :-1]).logits
    logits = logits if logits.dtype == torch.float64 else logits.float()
    loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), tokens[:, 1:].flatten())
    return logits, loss


def in_bfloat16(model):
    """The model as from_pretrained(dtype=bfloat16) runs it: RoPE frequencies stay in fp32."""
    rounded = copy.deepcopy(model)
    buffers = {name: buffer.clone() for name, buffer in rounded.named_buffers()}
    rounded = rounded.to(torch.bfloat16)
    for name, buffer in rounded.named_buffers():
        if name.endswith("inv_freq"):
            buffer.data = buffers[name].data
    return rounded


def gradients(model, samples, differentiated=lambda model, loss: loss):
    model.zero_grad()
    _, loss = forward(model, samples)
    differentiated(model, loss).backward()
    return {name: w.grad.float().numpy().copy() for name, w in model.named_parameters()}


def learning_rate_at(step):
    """Step from 1: linear warm-up, then a cosine that reaches the minimum at the last step."""
    peak = OPTIMIZER["learning_rate"]
    if step <= WARMUP:
        return peak * step / WARMUP
    progress = (step - WARMUP) / (NUM_STEPS - WARMUP)
    return MIN_LEARNING_RATE + 0.5 * (peak - MIN_LEARNING_RATE) * (1 + math.cos(math.pi * progress))


def train_curve(model, stream, differentiated=lambda model, loss: loss):
    """Losses and gradient norms of AdamW with clipping; matrices decay, vectors do not."""
    groups = [dict(params=[w for w in model.parameters() if w.dim() > 1],
                   weight_decay=OPTIMIZER["weight_decay"]),
              dict(params=[w for w in model.parameters() if w.dim() == 1], weight_decay=0.0)]
    optimizer = torch.optim.AdamW(groups, betas=(OPTIMIZER["beta1"], OPTIMIZER["beta2"]),
                                  eps=OPTIMIZER["eps"], foreach=False)
    losses, norms = [], []
    for step in range(1, NUM_STEPS + 1):
        for group in optimizer.param_groups:
            group["lr"] = learning_rate_at(step)
        optimizer.zero_grad()
        _, loss = forward(model, samples_of(stream, (step - 1) * BATCH, BATCH))
        differentiated(model, loss).backward()
        norms.append(float(torch.nn.utils.clip_grad_norm_(model.parameters(), MAX_GRAD_NORM)))
        optimizer.step()
        losses.append(float(loss.detach()))
    return np.array(losses), np.array(norms)


def greedy(model, ids, max_new_tokens):
    with torch.no_grad():
        model.generation_config.eos_token_id = None  # the whole length, whatever comes
        tokens = model.generate(torch.tensor([ids]), attention_mask=torch.ones(1, len(ids)),
                                max_new_tokens=max_new_tokens, do_sample=False, pad_token_id=256)
    return tokens[0, len(ids):].tolist()


def versions():
    return f"torch {torch.__version__}, transformers {transformers.__version__}"
