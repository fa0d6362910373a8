#!/usr/bin/env python3
"""Weak and strong scaling to 4,096 GPUs on paper: the best layout of `espalier plan grid` for each.

    validation/scaling_on_paper/scaling.py build/espalier [FOLDER]

Prints the tables of README.md; with a folder also writes scaling.csv and scaling.svg there. Status 1
where what the README says of published scaling does not hold."""
import csv
import json
import math
import pathlib
import subprocess
import sys

S = 4096
MODELS = ("qwen3-8b", "qwen3-32b")
DEVICES = ("h100", "b200")
RANKS = [2 ** i for i in range(3, 13)]
# Sequences of a step: so many for each GPU, or so many for all of them (4.2 million tokens).
WEAK, STRONG = 4, 1024
ROOT = pathlib.Path(__file__).resolve().parents[2]


def best(binary, model, device, ranks, batch, *keys):
    """The first row of the plan; None where nothing fits, or no layout is legal."""
    done = subprocess.run(
        [binary, "plan", "grid", f"model.file={ROOT}/inputs/models/{model}.toml",
         f"training.sequence_length={S}", f"training.global_batch_size={batch}",
         "training.tokens=100_000_000_000", f"plan.ranks={ranks}", f"plan.device={device}",
         "plan.rows=1", "--format", "json", *keys],
        text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT)
    if done.returncode == 78:
        return None
    done.check_returncode()
    return json.loads(done.stdout)[0]


def series(binary, kind):
    """(model, device) -> rows by ranks, with the efficiency against the fewest that fit."""
    result = {}
    for model in MODELS:
        for device in DEVICES:
            rows = []
            for ranks in RANKS:
                batch = WEAK * ranks if kind == "weak" else STRONG
                row = best(binary, model, device, ranks, batch)
                if row is None:
                    continue
                row["model"], row["kind"], row["batch"] = model, kind, batch
                row["efficiency"] = (row["tokens_per_second_per_device"]
                                     / (rows[0] if rows else row)["tokens_per_second_per_device"])
                rows.append(row)
            result[model, device] = rows
    return result


def table(rows):
    print("| GPUs | tensor x data | micro-batch | recompute | GiB | step, s | tokens/s per GPU | "
          "MFU | tensor | data exposed | of the fewest GPUs |")
    print("|" + "---|" * 11)
    for r in rows:
        share = {k: 100 * r[k] / r["step_seconds"] for k in ("tensor_exposed", "data_exposed")}
        print(f"| {r['ranks']:,.0f} | {r['tensor']:.0f} x {r['data']:.0f} | "
              f"{r['micro_batch_size']:.0f} | {r['recompute']} | {r['memory_bytes'] / 2**30:.0f} | "
              f"{r['step_seconds']:.3g} | {r['tokens_per_second_per_device']:,.0f} | "
              f"{100 * r['mfu_causal']:.1f} % | {share['tensor_exposed']:.1f} % | "
              f"{share['data_exposed']:.1f} % | {100 * r['efficiency']:.1f} % |")
    print()


# The picture ------------------------------------------------------------------------------------

WIDTH, HEIGHT, LEFT, TOP, GAP = 460, 300, 70, 60, 90
DASHES = {"h100": "6 4", "b200": "none"}
MARKS = {"qwen3-8b": "circle", "qwen3-32b": "square"}


def panel(x0, title, data):
    """Tokens/s per GPU in per cent of the fewest GPUs, over the GPUs."""
    parts = [f'<text x="{x0 + WIDTH / 2}" y="{TOP - 20}" text-anchor="middle" '
             f'font-weight="bold">{title}</text>']

    def place(ranks, efficiency):
        return (x0 + WIDTH * (math.log2(ranks) - 3) / 9, TOP + HEIGHT * (1 - efficiency / 1.1))

    for percent in range(0, 101, 20):
        x, y = place(8, percent / 100)
        parts.append(f'<path class="grid" d="M{x:.1f} {y:.1f}h{WIDTH}"/><text x="{x - 8:.1f}" '
                     f'y="{y + 4:.1f}" text-anchor="end">{percent}</text>')
    for ranks in RANKS:
        x, y = place(ranks, 0)
        parts.append(f'<text x="{x:.1f}" y="{y + 18:.1f}" text-anchor="middle">{ranks}</text>')
    parts.append(f'<text x="{x0 + WIDTH / 2}" y="{TOP + HEIGHT + 40}" '
                 'text-anchor="middle">GPUs</text>')
    for (model, device), rows in data.items():
        points = [place(r["ranks"], r["efficiency"]) for r in rows]
        line = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(f'<polyline class="line" stroke-dasharray="{DASHES[device]}" '
                     f'points="{line}"/>')
        for x, y in points:
            parts.append(mark(model, x, y))
    return parts


def mark(model, x, y):
    if MARKS[model] == "circle":
        return f'<circle class="mark" cx="{x:.1f}" cy="{y:.1f}" r="4"/>'
    return f'<rect class="mark" x="{x - 4:.1f}" y="{y - 4:.1f}" width="8" height="8"/>'


def picture(weak, strong):
    width = 2 * WIDTH + LEFT + GAP + 30
    height = TOP + HEIGHT + 90
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" '
        'font-family="sans-serif" font-size="12">',
        '<style>text{fill:#222}.grid{stroke:#bbb;stroke-width:.5}.line{fill:none;stroke:#1f5f9f;'
        'stroke-width:1.5}.mark{fill:#fff;stroke:#1f5f9f;stroke-width:1.5}'
        '@media(prefers-color-scheme:dark){text{fill:#ddd}.grid{stroke:#555}.line,.mark{stroke:'
        '#7fb8f0}.mark{fill:#111}}</style>',
        '<title>Scaling on paper: tokens/s per GPU in per cent of the fewest GPUs</title>',
        f'<text x="{LEFT - 55}" y="20">tokens/s per GPU, % of that on the fewest GPUs</text>']
    parts += panel(LEFT, f"weak: {WEAK} sequences of {S} per GPU and step", weak)
    parts += panel(LEFT + WIDTH + GAP, f"strong: {STRONG} sequences of {S} per step", strong)
    x, y = LEFT, height - 16
    for model, device in weak:
        parts.append(f'<path class="line" stroke-dasharray="{DASHES[device]}" d="M{x} {y - 4}h36"/>'
                     + mark(model, x + 18, y - 4)
                     + f'<text x="{x + 44}" y="{y}">{model}, {device.upper()}</text>')
        x += 230
    return "\n".join(parts + ["</svg>"]) + "\n"


# What is published ---------------------------------------------------------------------------------

failures = []


def check(holds, what):
    if not holds:
        failures.append(what)


def beside_published(binary):
    """Llama-3-8B, S 8192, on FSDP's side pure data parallelism: from one node to 128 GPUs."""
    print("| published | tokens/s per GPU, few -> many | kept | planned, the same model and grid | "
          "kept |")
    print("|---|---|---|---|---|")
    cases = [("torchtitan, H100, FSDP 8 -> 128", "h100", (6667, 6514), (8, 128), "llama3-8b"),
             ("Megatron-Bridge, H100, 8 -> 128", "h100", (10682, 10630), (8, 128), "llama3-8b"),
             ("torchtitan, A100, 8 -> 128", "a100-80", (None, None), (8, 128), "llama3-8b")]
    for name, device, (few, many), ranks, model in cases:
        rows = [best(binary, model, device, n, 8 * n, "training.sequence_length=8192")
                for n in ranks]
        kept = many / few if few else .995
        own = rows[1]["tokens_per_second_per_device"] / rows[0]["tokens_per_second_per_device"]
        speeds = f"{few:,} -> {many:,}" if few else "not printed"
        grids = " -> ".join(f"{r['tensor']:.0f} x {r['data']:.0f}" for r in rows)
        planned = " -> ".join(f"{r['tokens_per_second_per_device']:,.0f}" for r in rows)
        print(f"| {name} | {speeds} | {100 * kept:.1f} % | {planned} ({grids}) | "
              f"{100 * own:.1f} % |")
        check(abs(own - kept) < 0.05, f"{name}: {own:.3f} is not within 5 % of {kept:.3f}")
    print()


def main():
    binary = sys.argv[1]
    data = {kind: series(binary, kind) for kind in ("weak", "strong")}
    for kind, rows_of in data.items():
        for (model, device), rows in rows_of.items():
            print(f"### {kind}: {model}, {device.upper()}\n")
            table(rows)
    print("### Beside published weak scaling\n")
    beside_published(binary)
    for (model, device), rows in data["weak"].items():
        check(len(rows) >= 5, f"{model} on {device}: layouts to 4,096 GPUs")
        check(all(r["efficiency"] < 1.3 for r in rows), f"{model} on {device}: above linear")
    if len(sys.argv) > 2:
        folder = pathlib.Path(sys.argv[2])
        (folder / "scaling.svg").write_text(picture(data["weak"], data["strong"]))
        with open(folder / "scaling.csv", "w", newline="") as file:
            rows = [r for of in data.values() for rows in of.values() for r in rows]
            keys = ["kind", "model", "device", "ranks", "batch", "tensor", "data",
                    "micro_batch_size", "recompute", "zero_stage", "memory_bytes", "step_seconds",
                    "tokens_per_second_per_device", "mfu_causal", "tensor_exposed", "data_exposed",
                    "efficiency"]
            writer = csv.DictWriter(file, keys, extrasaction="ignore", lineterminator="\n")
            writer.writeheader()
            writer.writerows(rows)
    for failure in failures:
        print("NOT SO:", failure, file=sys.stderr)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
