"""What the figures of a session say together (session.py)."""
import re

COPY_SHARE = 85.0  # % of the measured copy rate that memory-bound operators must reach
MODELS = (("0.6b", "Qwen3-0.6B"), ("1.7b", "Qwen3-1.7B"), ("moe", "Qwen3-MoE"))
# Name, ms, TFLOP/s, GB/s, floor in ms, share of it, what bounds it: where the cost is known.
ROW = re.compile(r"^  (\S.*?) {2,}([\d.]+)" + 3 * r" +([\d.]+)" + r" +([\d.]+) %  (\w+) *$", re.M)


def figures_of(step, text):
    """(name, value) of what a command of the step says."""
    found = re.findall(step.figures, text, re.M) if step.figures else []
    figures = [(name, float(value)) for name, value in found]
    if step.rows:
        for name, ms, _, _, _, share, bound in ROW.findall(text):
            peak = "copy" if bound == "memory" else "GEMM"
            figures += [(f"{name} ms", float(ms)), (f"{name} % of {peak} peak", float(share))]
    return figures


def speeds(figures):
    for model, name in MODELS:
        ours = figures.get(f"bench {model}", {}).get("tokens_per_second")
        theirs = max((f.get("tokens_per_second", 0.0) for step, f in figures.items()
                      if step.startswith(f"PyTorch {model} ")), default=0.0)
        if ours and theirs:
            yield f"{name}: {ours / theirs:.3f} times PyTorch, one round of each"


def attention(figures):
    ours = figures.get("attention of 0.6b by provider", {})
    theirs = figures.get("attention in PyTorch", {})
    for name, ms in ours.items():
        provider, backward = name.split(" ")[0].rstrip(","), "backward" in name
        if provider == "cudnn":
            continue
        bounds = {n: b for n, b in [*ours.items(), *((f"PyTorch's {n}", b)
                                                     for n, b in theirs.items())]
                  if "cudnn" in n and ("backward" in n) == backward}
        for bound, bound_ms in bounds.items():
            yield (f"attention {'backward' if backward else 'forward'}: {provider} takes "
                   f"{ms / bound_ms:.3f} times the time of {bound}, one round")


def memory_bound(figures):
    for step, values in figures.items():
        shares = {name.rpartition(" % of ")[0]: value for name, value in values.items()
                  if name.endswith("copy peak")}
        slow = sorted((value, name) for name, value in shares.items() if value < COPY_SHARE)
        if shares:
            yield (f"{step}: {len(shares) - len(slow)} of {len(shares)} memory-bound rows reach "
                   f"{COPY_SHARE:.0f} % of the copy rate"
                   + ("; not " + ", ".join(f"{n} {v:.0f} %" for v, n in slow) if slow else ""))


def grouped(figures):
    for step, values in figures.items():
        ms = {name[:-3]: value for name, value in values.items() if name.endswith(" ms")}
        for name, dense in ms.items():
            product = name.removesuffix(", dense") if name.endswith(", dense") else None
            if not product:
                continue
            ways = {p: ms[f"{product}, {p}"] for p in ("mma", "wgmma") if f"{product}, {p}" in ms}
            if ways and dense > 0.0:
                yield f"{product}: " + ", ".join(
                    f"{p} at {100 * dense / t:.0f} %" for p, t in ways.items() if t > 0.0) + (
                    " of the dense product's rate")


def comparisons(results):
    figures = {r["step"]: r["figures"] for r in results}
    return [*speeds(figures), *attention(figures), *memory_bound(figures), *grouped(figures)]
