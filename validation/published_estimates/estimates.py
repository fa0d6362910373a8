#!/usr/bin/env python3
"""Published estimates of training runs beside each other, the hardware and `espalier plan grid`.

    validation/published_estimates/estimates.py build/espalier

Prints the tables of README.md. Status 1 if a printed digit cannot be reproduced, or a contradiction
that the README names is none."""
import json
import subprocess
import sys

S = 2048
PEAK = {"a6000": 155e12, "a100": 312e12, "b200": 2250e12}  # dense bf16, data sheets
FILE = {"a6000": "a6000", "a100": "a100-80", "b200": "b200"}  # of inputs/devices
SPARSE_B200 = 4500e12
failures = []


def check(holds, what):
    if not holds:
        failures.append(what)


class Shape:
    def __init__(self, H, F, L, A, K, D, V, family="qwen3", theta=1e6):
        self.H, self.F, self.L, self.A, self.K, self.D, self.V = H, F, L, A, K, D, V
        self.family, self.theta = family, theta

    def block_matrices(self):
        return self.H * (2 * self.A + 2 * self.K) * self.D + 3 * self.H * self.F

    def parameters(self):
        """All of them: embedding, LM head (not tied), blocks, norms and Qwen3's QK-norm."""
        norms = 2 * self.H + (2 * self.D if self.family == "qwen3" else 0)
        return 2 * self.V * self.H + self.L * (self.block_matrices() + norms) + self.H

    def flops(self, length=S):
        """Per token, forward and backward: LM head once, causal attention half."""
        return (6 * (self.L * self.block_matrices() + self.V * self.H)
                + 6 * self.L * self.A * self.D * length)

    def marin(self, length):
        """Marin's speedruns; their D is H / A."""
        d = self.H // self.A
        return 3 * (self.L * (6 * self.H * self.F + 2 * self.H * (self.A * d + 2 * self.K * d)
                              + 2 * self.H ** 2 + 4 * length * self.A * d + 3 * length * self.A)
                    + 2 * self.H * self.V)

    def keys(self):
        return [f"model.model_type={self.family}", f"model.vocab_size={self.V}",
                f"model.hidden_size={self.H}", f"model.intermediate_size={self.F}",
                f"model.num_hidden_layers={self.L}", f"model.num_attention_heads={self.A}",
                f"model.num_key_value_heads={self.K}", f"model.head_dim={self.D}",
                f"model.rope_theta={self.theta}"]


QWEN_18 = Shape(2048, 6144, 24, 16, 8, 128, 151936)
QWEN_15 = Shape(2048, 6144, 28, 16, 8, 128, 151936)  # "1.5B" of the guide
QWEN_06 = Shape(1024, 3072, 28, 16, 8, 128, 151936)
LLAMA_15 = Shape(2048, 7168, 18, 16, 8, 128, 128256, "llama", 5e5)
LLAMA_22 = Shape(2048, 7168, 30, 16, 8, 128, 128256, "llama", 5e5)

# name, shape, tokens, devices, device, and as published: GB, tokens/s, MFU, hours
RUNS = [
    ("Qwen3 1.8B", QWEN_18, 81.727e9, 2, "a6000", (36, 40), (9e3, 11e3), (.38, .42), (110, 120)),
    ("Qwen3 1.8B", QWEN_18, 81.727e9, 4, "a100", (25, 30), (35e3, 40e3), (.40, .45), (30, 35)),
    ("Qwen3 1.8B", QWEN_18, 81.727e9, 8, "b200", (20, 25), (100e3, 120e3), (.45, .50), (10, 12)),
    ("Llama 3 1.5B", LLAMA_15, 101.909e9, 8, "a100", (35, 45), (140e3, 160e3), (.45, .55),
     (15 * 24, 15 * 24)),
    ("Llama 3 2.2B", LLAMA_22, 61.545e9, 8, "a100", (45, 55), (120e3, 140e3), (.45, .55),
     (10 * 24, 10 * 24)),
    ("Llama 3 1.5B", LLAMA_15, 101.909e9, 8, "b200", (35, 45), (500e3, 600e3), (.50, .60),
     (3 * 24, 4 * 24)),
    ("Llama 3 2.2B", LLAMA_22, 61.545e9, 8, "b200", (45, 55), (450e3, 550e3), (.50, .60),
     (2 * 24, 3 * 24)),
    ("guide's 1.5B", QWEN_15, 80e9, 8, "b200", (30, 40), (60e3, 80e3), (.45, .55), (30, 40)),
]


def middle(pair):
    return sum(pair) / 2


def between(pair, factor=1.0):
    low, high = (f"{x * factor:.3g}" if x * factor < 1000 else f"{x * factor:,.0f}"
                 for x in pair)
    return low if low == high else f"{low} to {high}"


def row(cells):
    print("| " + " | ".join(str(c) for c in cells) + " |")


def heading(cells):
    row(cells)
    print("|" + "---|" * len(cells))


def planned(binary, shape, tokens, ranks, device):
    """The best layout of `plan grid`, and what a device needs with a micro-batch of one sequence
    and nothing recomputed: half a million tokens a step."""
    done = subprocess.run(
        [binary, "plan", "grid", *shape.keys(), f"training.sequence_length={S}",
         "training.global_batch_size=256", f"training.tokens={int(tokens)}", f"plan.ranks={ranks}",
         f"plan.device={FILE[device]}", "plan.rows=0", "--format", "json"],
        text=True, stdout=subprocess.PIPE, check=True)
    rows = json.loads(done.stdout)
    small = next(r for r in rows if (r["tensor"], r["micro_batch_size"], r["recompute"],
                                     r["zero_stage"]) == (1, 1, "none", 1))
    return rows[0], small["memory_bytes"]


def contradictions():
    print("## As published, and what follows from each figure\n")
    heading(["run", "devices", "tokens/s", "MFU", "hours", "MFU by these tokens/s, of all devices",
             "were they per device", "MFU by these hours", "hours by these tokens/s",
             "were they per device"])
    for name, shape, tokens, n, device, _, speed, mfu, hours in RUNS:
        peak = n * PEAK[device]
        per_speed = [shape.flops() * s / peak for s in speed]
        per_hours = [shape.flops() * tokens / (h * 3600) / peak for h in hours]
        by_speed = [tokens / s / 3600 for s in reversed(speed)]
        row([name, f"{n} x {device.upper()}", between(speed, 1e-3) + "k", between(mfu, 100) + " %",
             between(hours), between(per_speed, 100) + " %", between(per_speed, 100 * n) + " %",
             between(per_hours[::-1], 100) + " %", between(by_speed),
             between([h / n for h in by_speed])])
    print()
    shown = {(r[0], r[4]): r for r in RUNS}

    def mfu_of(key, of_each=False):
        name, shape, tokens, n, device, _, speed, *_ = shown[key]
        return shape.flops() * middle(speed) * (n if of_each else 1) / (n * PEAK[device])

    def hours_of(key, of_each=False):
        _, _, tokens, n, _, _, speed, *_ = shown[key]
        return tokens / middle(speed) / (n if of_each else 1) / 3600

    def mfu_by_hours(key):
        _, shape, tokens, n, device, *_, hours = shown[key]
        return shape.flops() * tokens / (middle(hours) * 3600) / (n * PEAK[device])

    a6000, a100, b200 = (("Qwen3 1.8B", d) for d in ("a6000", "a100", "b200"))
    # Tokens/s and MFU agree on A6000 and A100 for all devices together, on B200 only per device.
    check(.30 < mfu_of(a6000) < .42 and .28 < mfu_of(a100) < .45, "A6000 and A100: node's tokens/s")
    check(mfu_of(b200) < .08 and .42 < mfu_of(b200, True) < .60, "B200: a device's tokens/s")
    # No reading of the tokens/s gives the hours.
    for key in (a6000, a100, b200):
        check(hours_of(key) > 15 * middle(shown[key][8]), f"{key}: hours of all devices")
        check(hours_of(key, True) > 2 * middle(shown[key][8]), f"{key}: hours of each")
    check(mfu_by_hours(a6000) > 6, "the A6000s' hours need over six times the peak")
    check(mfu_by_hours(a100) > 1.4, "the A100s' hours need more than the peak")
    check(1.0 < mfu_by_hours(b200) < 1.25, "the B200s' hours need more than the dense peak")
    check(.5 < mfu_by_hours(b200) * PEAK["b200"] / SPARSE_B200 < .6, "and over half the sparse one")
    for size in ("1.5B", "2.2B"):
        key = (f"Llama 3 {size}", "a100")
        check(1.7 < middle(shown[key][8]) / hours_of(key) < 2.1, f"{key}: days twice too many")
        key = (f"Llama 3 {size}", "b200")
        check(.2 < mfu_of(key) < .36, f"{key}: tokens/s are about half of the stated MFU")
    guide = ("guide's 1.5B", "b200")
    check(.30 < mfu_of(guide, True) < .45, "the guide's tokens/s are per device and below its MFU")
    check(30 < hours_of(guide, True) < 40.5, "with which the guide's hours agree")


def guide():
    print("## The guide for 8 x B200 and 60 hours\n")
    seconds, devices = 60 * 3600, 8
    sparse = [devices * SPARSE_B200 * seconds * mfu for mfu in (.3, .5)]
    dense = [devices * PEAK["b200"] * seconds * mfu for mfu in (.3, .5)]
    check([f"{x:.1e}" for x in sparse] == ["2.3e+21", "3.9e+21"], "the guide's FLOPs")
    heading(["", "published", "by its own rule", "dense peak, exact count"])
    row(["FLOPs at MFU 30 to 50 %", "2.3e21 to 3.9e21", " to ".join(f"{c:.2e}" for c in sparse),
         " to ".join(f"{c:.2e}" for c in dense)])
    for n, low, high in ((1e9, 380, 650), (2e9, 190, 325)):
        rule = [c / (6 * n) for c in (2.3e21, 3.9e21)]
        check(abs(rule[0] / 1e9 - low) < 5 and round(rule[1] / 1e9) == high, f"6N, {n:.0e}")
        shape = QWEN_15 if n == 2e9 else None
        exact = between([c / shape.flops() for c in dense], 1e-9) + "B (its \"1.5B\" of " \
            f"{shape.parameters() / 1e9:.2f}B)" if shape else ""
        row([f"tokens of a model of {n / 1e9:.0f}B", f"{low}B to {high}B", between(rule, 1e-9) + "B",
             exact])
    check(QWEN_15.parameters() == 2031739904, "the guide's 1.5B has 2.03B parameters")
    print()


def speedruns():
    print("## Marin's speedruns, S 4096, whole steps of 128 x 4096 tokens\n")
    heading(["run", "parameters", "tokens", "published FLOPs", "in its convention", "exact count",
             "of it"])
    runs = [("130m", Shape(512, 1792, 6, 8, 8, 64, 128256, "llama"), 154147328, 2.6e9, "1.7773e+18"),
            ("300m", Shape(768, 2688, 12, 12, 12, 64, 128256, "llama"), 299649792, 6.0e9,
             "9.9904e+18"),
            ("520m", Shape(1024, 3584, 24, 16, 8, 64, 128256, "llama"), 602457088, 10.4e9,
             "4.2104e+19"),
            ("1.2b", Shape(2048, 7168, 16, 16, 8, 128, 128256, "llama"), 1431373824, 24.0e9,
             "2.0716e+20"),
            ("0.6B estimate", Shape(1024, 3072, 28, 16, 8, 64, 128256, "llama"), 615048192,
             128 * 4096 * 6000, "1.36e+19")]
    step = 128 * 4096
    for name, shape, parameters, tokens, published in runs:
        check(shape.parameters() == parameters, f"{name}: parameters")
        whole = tokens // step * step
        flops = whole * shape.marin(4096)
        digits = len(published.split("e")[0]) - 2
        check(f"{flops:.{digits}e}" == published, f"{name}: {flops:.5e} is not {published}")
        exact = whole * shape.flops(4096)
        row([name, f"{parameters:,}", f"{whole:,.0f}", published, f"{flops:.4e}", f"{exact:.4e}",
             f"{100 * exact / flops:.1f} %"])
    check(f"{flops / .5:.2e}" == "2.72e+19" and f"{flops / .2:.2e}" == "6.81e+19",
          "hardware FLOPs of the 0.6B estimate")
    hours = {mfu: flops / mfu / (64 * 2.75e14) / 3600 for mfu in (.5, .2)}
    print(f"\nThe 0.6B estimate at MFU 0.5 and 0.2: {flops / .5:.3e} and {flops / .2:.3e} FLOPs of "
          f"hardware, {hours[.5]:.2f} and {hours[.2]:.2f} h of 64 devices of 2.75e14 FLOP/s; by the "
          f"exact count {exact / .5:.3e} and {exact / .2:.3e}.\n")


def model(binary):
    print("## Beside the best layout of `espalier plan grid`\n")
    heading(["run", "devices", "GB published", "with one sequence at a time",
             "GB of the best", "layout", "tokens/s published",
             "tokens/s planned", "MFU published", "MFU planned", "hours published",
             "hours planned"])
    for name, shape, tokens, n, device, gb, speed, mfu, hours in RUNS:
        plan, least = planned(binary, shape, tokens, n, device)
        peak = n * PEAK[device]
        # The program counts as this script does (its A6000 has a peak of 154.8).
        check(abs(plan["mfu_causal"] * peak / plan["tokens_per_second"] / shape.flops() - 1) < 2e-3,
              f"{name} on {device}: FLOPs per token")
        row([name, f"{n} x {device.upper()}", between(gb), f"{least / 1e9:.0f}",
             f"{plan['memory_bytes'] / 1e9:.0f}",
             f"{plan['tensor']:.0f} x {plan['data']:.0f}, micro-batch "
             f"{plan['micro_batch_size']:.0f}, {plan['recompute']}",
             between(speed, 1e-3) + "k", f"{plan['tokens_per_second'] / 1e3:.0f}k",
             between(mfu, 100) + " %", f"{100 * plan['mfu_causal']:.0f} %", between(hours),
             f"{plan['hours']:.0f}"])
    print()


contradictions()
guide()
speedruns()
if len(sys.argv) > 1:
    model(sys.argv[1])
for failure in failures:
    print("NOT SO:", failure, file=sys.stderr)
sys.exit(1 if failures else 0)
