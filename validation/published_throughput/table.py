#!/usr/bin/env python3
"""Predicted throughput beside what others have measured; see README.md.

    table.py <espalier>

Prints the table and ends with status 1 when the median error is above the bound.
"""
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import tomllib

from rows import CALIBRATION, NOT_MODELLED, ROWS

BOUND = 0.15
DEVICES = pathlib.Path(__file__).resolve().parents[2] / "inputs" / "devices"
PARTS = ("products", "attention", "memory_bound", "tensor_exposed", "other")


def planned(program, row, layers, length, micro_batches, recompute, device):
    """Seconds of a step of one data replica with that many layers on one stage, by part."""
    m = row.model
    command = [program, "plan", "time", "--format", "json", f"plan.device={device}",
               "model.model_type=" + ("qwen3" if m.qk_norm else "llama"),
               f"model.hidden_size={m.hidden}", f"model.intermediate_size={m.ffn}",
               f"model.num_hidden_layers={layers}", f"model.num_attention_heads={m.heads}",
               f"model.num_key_value_heads={m.kv_heads}", f"model.head_dim={m.head_dim}",
               f"model.vocab_size={m.vocab}", "model.tie_word_embeddings=false",
               f"training.sequence_length={length}", f"training.micro_batch_size={row.micro}",
               f"training.global_batch_size={row.micro * micro_batches}", "training.steps=1",
               "model.max_position_embeddings=131072", "schedule.warmup_steps=0",
               f"parallel.tensor={row.tensor}", "parallel.data=1",
               f"parallel.overlap_tensor={str(row.overlap_tensor).lower()}",
               f"memory.recompute={recompute}"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}\n{done.stdout}{done.stderr}")
    return {part: json.loads(done.stdout)[0][part] for part in PARTS}


def minus(a, b):
    return {part: a[part] - b[part] for part in PARTS}


def per_micro_batch(program, row, length, recompute, device):
    """Of a micro-batch: (seconds outside the blocks, of a block); and (outside, block) of the
    optimizer. The step is linear in layers and in micro-batches."""
    runs = {(layers, n): planned(program, row, layers, length, n, recompute, device)
            for layers in (1, 2) for n in (1, 2)}
    micro = {layers: minus(runs[layers, 2], runs[layers, 1]) for layers in (1, 2)}
    once = {layers: minus(runs[layers, 1], micro[layers]) for layers in (1, 2)}

    def split(of):
        block = minus(of[2], of[1])
        return minus(of[1], block), block
    return split(micro), split(once)


def ring_seconds(bytes_, size, stride, hardware):
    """An all-gather or reduce-scatter, as src/plan/time/collective_time.hpp."""
    if size == 1:
        return 0.0
    per_node = max(1, min(size, hardware["devices_per_node"] // stride))
    rate = hardware["link_bus_gbs"] if per_node > 1 else float("inf")
    if size > per_node:
        rate = min(rate, per_node * hardware["network_bus_gbs"])
    return (size - 1) / size * bytes_ / (1e9 * rate)


def cast_seconds(row, hardware, tokens):
    """Reading bf16 and writing FP8, as it is and transposed, of every operand of a block."""
    m = row.model
    queries, keys = m.heads * m.head_dim, m.kv_heads * m.head_dim
    forward = m.hidden + queries + m.hidden + m.ffn
    backward = (queries + 2 * keys) + m.hidden + 2 * m.ffn + m.hidden
    return 4.0 * (forward + backward) * tokens / row.tensor / (1e9 * hardware["copy_gbs"])


def micro_batch_seconds(program, row, length, recompute, hardware):
    """(outside, block) of one micro-batch and (outside, block) of the optimizer."""
    micro, once = per_micro_batch(program, row, length, recompute, row.device)
    outside, block = ({**part} for part in micro)
    if row.fp8:  # products of blocks alone
        with tempfile.NamedTemporaryFile("w", suffix=".toml") as file:
            text = (DEVICES / f"{row.device}.toml").read_text()
            old = f"product_bf16_tflops = {hardware['product_bf16_tflops']}"
            assert old in text
            file.write(text.replace(
                old, f"product_bf16_tflops = {hardware['product_fp8_tflops']}"))
            file.flush()
            (_, fast), _ = per_micro_batch(program, row, length, recompute, file.name)
        block["products"] = fast["products"]
        block["memory_bound"] += cast_seconds(row, hardware, row.micro * length)
    return (outside, block), once


def predicted(program, row, recompute=None):
    """tokens/s per GPU."""
    if row.recompute == "half" and recompute is None:
        none = predicted(program, row, "none")
        return 2.0 / (1.0 / none + 1.0 / predicted(program, row, "full"))
    recompute = recompute or row.recompute
    hardware = tomllib.loads((DEVICES / f"{row.device}.toml").read_text())["hardware"]
    m, layers = row.model, row.model.layers
    (outside, block), once = micro_batch_seconds(program, row, row.length // row.context, recompute,
                                                 hardware)
    if row.context > 1:
        # Each context rank has its part of every sequence and of attention's pairs.
        (whole_outside, whole_block), _ = per_micro_batch(program, row, row.length, recompute,
                                                          row.device)
        outside["attention"] = whole_outside["attention"] / row.context
        block["attention"] = whole_block["attention"] / row.context
    micro = (sum(outside.values()) + layers * sum(block.values())) / row.pipeline
    data = row.gpus // (row.tensor * row.context * row.pipeline)
    shards = data * row.context  # over which the optimizer is divided
    update = (sum(once[0].values()) + layers * sum(once[1].values())) / row.pipeline / shards

    matrix = m.hidden * (m.heads + 2 * m.kv_heads) * m.head_dim + m.heads * m.head_dim * m.hidden
    number = 2 * m.vocab * m.hidden + layers * (matrix + 3 * m.hidden * m.ffn)
    own = number / (row.tensor * row.pipeline)
    stride = row.tensor
    gather = ring_seconds(2 * own, shards, stride, hardware)
    reduce = ring_seconds(4 * own, shards, stride, hardware)
    n = row.micro_batches
    if row.fsdp:  # weights twice and gradients once in every micro-batch, beside it
        exposed = n * max(0.0, 2 * gather + reduce - micro)
    else:         # once in a step, beside the last backward and the next forward pass
        exposed = max(0.0, reduce - 2 / 3 * micro) + max(0.0, gather - 1 / 3 * micro)
    bubble = (row.pipeline - 1) * micro / row.virtual
    step = n * micro + bubble + update + exposed
    return n * row.micro * row.length * data / step / row.gpus


def main():
    program = sys.argv[1] if len(sys.argv) == 2 else sys.exit(__doc__)
    errors = []
    print("| program | run | device | measured | predicted | error | assumed |")
    print("|---|---|---|---|---|---|---|")
    for row in ROWS:
        tokens = predicted(program, row)
        error = tokens / row.measured - 1.0
        errors.append((abs(error), row, error))
        print(f"| {row.program} | {row.name} | {row.device} | {row.measured:,.0f} | {tokens:,.0f} "
              f"| {100 * error:+.0f} % | {', '.join(row.assumed)} |", flush=True)
    median = statistics.median(error for error, _, _ in errors)
    worst = max(errors, key=lambda e: e[0])
    print(f"\n{len(errors)} rows, median error {100 * median:.1f} % (bound {100 * BOUND:.0f} %), "
          f"worst {100 * worst[2]:+.0f} %: {worst[1].program}, {worst[1].name}")
    for program_name in sorted({row.program for _, row, _ in errors}):
        own = [e for e in errors if e[1].program == program_name]
        print(f"  {program_name}: {len(own)} rows, median of the signed errors "
              f"{100 * statistics.median(e[2] for e in own):+.1f} %")
    print(f"set the sustained share: {CALIBRATION.name} on {CALIBRATION.device}, measured "
          f"{CALIBRATION.measured:,.0f}, predicted {predicted(program, CALIBRATION):,.0f}")
    print(f"not modelled: {', '.join(NOT_MODELLED)}")
    sys.exit(median > BOUND)


if __name__ == "__main__":
    main()
