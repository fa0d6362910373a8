#!/usr/bin/env python3
"""check.py <program> <folder inputs/plans>: every digit of three published searches and of speedruns
against `espalier plan search`, the optimum of the exact count beside them, and what the published
optima cost by it. Prints Markdown; ends with status 1 when a digit differs."""
import pathlib
import sys
import time

import published


def table(search, count):
    lines = ["| " + " | ".join(published.PRINTED) + " |", "|" + "---|" * len(published.PRINTED)]
    return lines + ["| " + " | ".join(row) + " |" for row in search.printed()[:count]]


def one_pair(program, document, row, flops):
    """The pair of shape and tokens of a row alone, by another count of FLOPs."""
    tokens = row["tokens"]
    return published.Search(
        program, document, f"search.flops={flops}", "search.tolerance=1", "search.layers_min=0",
        "search.layers_max=0", f"search.layers=[{row['num_hidden_layers']}]", "search.hidden_min=0",
        "search.hidden_max=0", f"search.hidden_sizes=[{row['hidden_size']}]",
        f"search.head_dims=[{row['head_dim']}]", "search.tokens_count=1",
        f"search.tokens_min={tokens!r}", f"search.tokens_max={tokens!r}",
        "search.chinchilla_min=0", "search.chinchilla_max=0",
        "search.budget=4e21").json["candidates"][0]


def compare(program, plans):
    """-> number of digits that differ."""
    bad = []
    for name, what in published.SEARCHES.items():
        search = published.Search(program, plans / f"{name}.toml")
        differing = published.differences(name, search)
        bad += differing
        rows = published.published_rows(name)
        counts = ", ".join(f"{count:,} {word}" for word, count in what["statistics"].items())
        print(f"{name}: {len(rows)} rows of {len(published.PRINTED)} figures and {counts}: "
              f"{len(differing)} differ")
    print("\n".join(bad))
    return len(bad)


def exact(program, plans):
    filtered = ["search.chinchilla_min=0.5", "search.chinchilla_max=1.5"]
    for name, document, overrides in (
            ("qwen3-1.36e21", "qwen3-1.36e21-exact", []),
            ("llama3-1.36e21", "llama3-1.36e21-exact", []),
            ("llama3-1.36e21-chinchilla", "llama3-1.36e21-exact", filtered)):
        old = published.Search(program, plans / f"{name}.toml")
        new = published.Search(program, plans / f"{document}.toml", *overrides)
        first = old.json["candidates"][0]
        cost = one_pair(program, plans / f"{name}.toml", first, "exact")["flops"]
        same = next((row for row in new.json["candidates"]
                     if all(row[key] == first[key]
                            for key in ("num_hidden_layers", "hidden_size", "head_dim"))), None)
        print(f"\n{document} {' '.join(overrides)}\n")
        print("\n".join(table(new, 5)))
        print(f"\nThe published optimum costs {cost:.4g} FLOPs, {100 * cost / 1.36e21:.1f} % of the "
              "budget.")
        print(f"The budget buys its shape {same['tokens'] / 1e9:.1f}e9 tokens, loss "
              f"{same['loss']:.6f}: row {same['row']} of {len(new.json['candidates'])}." if same else
              "With the tokens that the budget buys its shape does not pass the filter.")
        for head_dim in (64, 128):
            shape = dict(first, head_dim=head_dim)
            both = [one_pair(program, plans / f"{name}.toml", shape, count)["flops"]
                    for count in ("published", "exact")]
            print(f"heads of {head_dim}: {both[0] / first['tokens'] / 1e9:.2f} GFLOP a token by the "
                  f"published count, {both[1] / first['tokens'] / 1e9:.2f} exactly")


def speedruns(program, plans):
    """-> number of figures that differ."""
    bad = 0
    print("\n| speedrun | parameters | FLOPs, published | found | exact count | of it |")
    print("|---|---|---|---|---|---|")
    for name, (*_, parameters, _, flops) in published.SPEEDRUNS.items():
        rows = {count: published.speedrun(program, plans / "llama3-1.36e21.toml", name, count)
                for count in ("marin", "exact")}
        own, exactly = rows["marin"]["flops"], rows["exact"]["flops"]
        bad += f"{own:.4e}" != flops or rows["marin"]["parameters"] != parameters
        print(f"| {name} | {rows['marin']['parameters']:,} | {flops} | {own:.4e} | {exactly:.4e} | "
              f"{100 * exactly / own:.1f} % |")
    return bad


def speed(program, plans):
    """Seconds of the whole command on one core, without and with a search of many pairs."""
    wide = ["search.layers_min=1", "search.layers_max=200", "search.layers_step=1",
            "search.hidden_max=9216", "plan.rows=1"]
    print()
    for overrides in ([], ["search.tokens_count=200"], ["search.tokens_count=200000"]):
        command = ["taskset", "-c", "0", program, "plan", "search",
                   plans / "llama3-1.36e21.toml", *(wide if overrides else []), *overrides]
        seconds = []
        for _ in range(5):
            begin = time.monotonic()
            text = published.run(command)
            seconds.append(time.monotonic() - begin)
        tried = next(line for line in text.splitlines() if line.startswith("tried"))
        print(f"{sorted(seconds)[2]:.2f} s (median of five): {' '.join(tried.split())}")


if __name__ == "__main__":
    program, plans = sys.argv[1], pathlib.Path(sys.argv[2])
    differing = compare(program, plans)
    exact(program, plans)
    differing += speedruns(program, plans)
    speed(program, plans)
    sys.exit(differing > 0)
