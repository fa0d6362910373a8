#!/usr/bin/env python3
"""Fits loss laws with espalier plan fit and sets them beside what is known.

Usage    fit.py PROGRAM published CSV   points that were read off a published figure, beside the
                                        constants that were published for them
         fit.py PROGRAM runs FOLDER     the runs of runs.py, beside the larger run that they predict
CSV      data/svg_extracted_data.csv of https://github.com/epoch-research/analyzing-chinchilla
"""
import csv
import json
import pathlib
import subprocess
import sys

CONSTANTS = ("e", "a", "alpha", "b", "beta")
# From data_analysis.ipynb of that repository, at 240 of 245 points: what its L-BFGS on Hoffmann et
# al.'s objective came to, and the estimates that Besiroglu et al. 2024 (arXiv:2404.10102) published.
# The latter maximise a likelihood whose scale is fitted, too, and becomes exp(-12.27), so that
# Huber's delta is 1e-3 exp(-12.27): absolute residuals. Its BFGS ended with "Desired error not
# necessarily achieved due to precision loss".
NOTEBOOK = (1.817235504463726, 477.84171252965143, 0.34731265761033453, 2143.8637880335505,
            0.3671826173946711)
NOTEBOOK_OBJECTIVE = 0.0010182740346154525
PAPER = (1.81686, 482.00572, 0.34781, 2085.43420, 0.36585)
PAPER_ERRORS = (0.02566, 124.52232, 0.01540, 1293.28410, 0.02060)
PAPER_DELTA = 1e-3 * 2.718281828459045**-12.26662388


def fit(program, *arguments):
    done = subprocess.run([program, "plan", "fit", *map(str, arguments), "--format", "json"],
                          text=True, stdout=subprocess.PIPE, check=True)
    return json.loads(done.stdout)


def table(rows):
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]))]
    for i, row in enumerate(rows):
        print("| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths)) + " |")
        if i == 0:
            print("|" + "|".join("-" * (width + 2) for width in widths) + "|")


def constants_of(result):
    return {c["name"]: c for c in result["constants"]}


def published(program, path):
    path = pathlib.Path(path)
    columns = 'fit.columns=["parameters=Model Size", "flops=Training FLOP"]'
    with open(path, newline="") as file:
        losses = [float(row["loss"]) for row in csv.DictReader(file)]
    # As theirs: the five highest losses, which the figure's curve does not follow, are left out.
    fifth = sorted(losses)[-5]
    held = [f"{path.name}:{i + 2}" for i, loss in enumerate(losses) if loss >= fifth]
    left_out = f"fit.hold_back={json.dumps(held)}"
    huber = fit(program, path, columns, left_out, "fit.resamples=4000", "fit.confidence=0.8")
    absolute = fit(program, path, columns, left_out, "fit.resamples=0",
                   f"fit.huber_delta={PAPER_DELTA}")
    every = fit(program, path, columns, "fit.resamples=0")
    print(f"{len(huber['fitted'])} points of {len(losses)}\n")
    rows = [("", *CONSTANTS, "Huber loss")]

    def add(name, values, objective=""):
        rows.append((name, *(f"{value:.6g}" for value in values), objective))

    def found(result):
        return [constants_of(result)[name]["value"] for name in CONSTANTS]

    add("plan fit, delta 1e-3", found(huber), f"{huber['huber_loss']:.13f}")
    add("their L-BFGS, delta 1e-3", NOTEBOOK, f"{NOTEBOOK_OBJECTIVE:.13f}")
    add(f"plan fit, delta {PAPER_DELTA:.2g}", found(absolute), f"{absolute['huber_loss']:.6g}")
    add("published", PAPER)
    add("plan fit, all points", found(every), f"{every['huber_loss']:.13f}")
    table(rows)
    print()
    interval = [("80 % interval of", "plan fit", "published, estimate +- 1.28 standard errors")]
    for name, value, error in zip(CONSTANTS, PAPER, PAPER_ERRORS):
        c = constants_of(huber)[name]
        interval.append((name, f"{c['low']:.4g} to {c['high']:.4g}",
                         f"{value - 1.2816 * error:.4g} to {value + 1.2816 * error:.4g}"))
    table(interval)
    worse = huber["huber_loss"] - NOTEBOOK_OBJECTIVE
    print(f"\nHuber loss beside theirs: {worse:+.2g}")
    far = max(abs(a / b - 1.0) for a, b in zip(found(absolute), PAPER))
    print(f"largest difference from the published constants at their delta: {100 * far:.2g} %")
    return worse <= 1e-12 and far <= 0.01


def runs(program, folder):
    every = sorted(p for p in pathlib.Path(folder).iterdir() if (p / "history.csv").exists())
    is_good = True
    for title, fitted in (("all runs", every),
                          ("without the runs of 200 steps",
                           [p for p in every if not p.name.endswith("-200")])):
        for counts in ("all", "without_embedding"):
            result = fit(program, *fitted, 'fit.hold_back=["h256-1600"]', "fit.resamples=1000",
                         f"fit.counts={counts}")
            held = result["held_back"][0]
            print(f"{title}, N counts {counts}: {len(result['fitted'])} runs\n")
            rows = [("constant", "value", "90 % interval")]
            for c in result["constants"]:
                rows.append((c["name"], f"{c['value']:.4g}", f"{c['low']:.4g} to {c['high']:.4g}"))
            table(rows)
            print(f"\nh256-1600: expected {held['value']:.4f}, nine of ten runs {held['run_low']:.4f} "
                  f"to {held['run_high']:.4f}; measured {held['measured']:.4f}\n")
            if title != "all runs":
                is_good &= held["run_low"] <= held["measured"] <= held["run_high"]
    return is_good


if __name__ == "__main__":
    if len(sys.argv) != 4 or sys.argv[2] not in ("published", "runs"):
        sys.exit("usage: fit.py PROGRAM published CSV | fit.py PROGRAM runs FOLDER")
    sys.exit(0 if {"published": published, "runs": runs}[sys.argv[2]](sys.argv[1], sys.argv[3])
             else 1)
