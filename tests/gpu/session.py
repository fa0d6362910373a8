#!/usr/bin/env python3
"""All that is worth doing with a few minutes of a GPU, in the order of its worth, by one command.

    bundle/tests/gpu/session.py OUTPUT [--minutes 8] [--part N] [--only REGEX] [--skip REGEX]
    tests/gpu/session.py OUTPUT --programs build            # a build in place of a bundle
    tests/gpu/session.py OUTPUT --programs build --backend emulated     # warm-up without a GPU

A step that fails, or takes too long, ends alone; the next one goes on. What is not there (a
compute-sanitizer, PyTorch) is a step that is skipped, with the reason. OUTPUT is written after
every step: summary.md (the table that is also printed), summary.json, log.txt (everything that was
said), gpu.csv (clocks meanwhile) and cache/ (the algorithms that cuBLASLt was measured to be
fastest with). Status 1 when a step failed.
"""
import argparse
import json
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from comparisons import comparisons, figures_of  # noqa: E402
from processes import Runner, end  # noqa: E402
from steps import Steps  # noqa: E402

LEAST_S = 8  # with less time than this no step is begun
MOST_NOTE = 600  # characters; log.txt has all


def gist(text):
    """The line of an output that says best what went wrong."""
    lines = [re.sub(r"\x1b\[[0-9;]*m", "", line).strip() for line in text.splitlines()]
    lines = [line for line in lines if re.search(r"\w", line)]
    for telling in (r": error \S+ > ", r"ERROR SUMMARY: [1-9]", r"^test cases:", r"[Ee]rror",
                    r"^FAILED|FAILED \("):
        found = [line for line in lines if re.search(telling, line)]
        if found:
            return found[-1][:200]
    return lines[-1][:200] if lines else "says nothing"


class Session:
    def __init__(self, options):
        self.output = options.output
        self.output.mkdir(parents=True, exist_ok=True)
        self.end = time.monotonic() + 60 * options.minutes
        self.slow = 4 if options.backend == "emulated" else 1
        environment = dict(os.environ, ESPALIER_TEST_BACKEND=options.backend,
                           XDG_CACHE_HOME=str((self.output / "cache").resolve()))
        self.runner = Runner(self.output / "log.txt", environment)
        self.results = []
        self.clocks = self.watch_clocks()

    def watch_clocks(self):
        """What the GPU does meanwhile, every two seconds, in gpu.csv: a speed means little without
        the clock that it was reached with."""
        what = ("timestamp,clocks.sm,clocks.mem,power.draw,temperature.gpu,memory.used,"
                "utilization.gpu,clocks_event_reasons.active")
        if not shutil.which("nvidia-smi"):
            return None
        with open(self.output / "gpu.csv", "w") as file:
            words = ["nvidia-smi", f"--query-gpu={what}", "--format=csv", "-l", "2"]
            return subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=file,
                                    stderr=subprocess.STDOUT, start_new_session=True)

    def close(self):
        self.runner.log.close()
        if self.clocks is not None:
            end(self.clocks)

    def do(self, step):
        start = time.monotonic()
        left = self.end - start
        result = {"step": step.name, "seconds": 0.0, "figures": {}, "result": "", "note": ""}
        if step.why_not:
            result.update(result="skipped", note=step.why_not)
        elif left < LEAST_S:
            result.update(result="skipped", note="no time left")
        else:
            self.runner.say(f"\n===== {step.name} =====\n")
            self.attempt(step, start + min(self.slow * step.limit_s, left), result)
        result["seconds"] = round(time.monotonic() - start, 1)
        self.results.append(result)
        self.write()
        print(f"{result['result']:>10}  {result['seconds']:6.1f} s  {step.name}  "
              f"{self.notes(result)}", flush=True)

    def attempt(self, step, end, result):
        done = self.runner.run_all(step.commands, end, self.slow * step.each_s,
                                   self.slow * step.silence_s, step.at_once)
        wrong = []
        for command, outcomes in done:
            for outcome in outcomes:
                for name, value in figures_of(step, outcome.text):
                    result["figures"][name] = value
                if outcome.status != 0:
                    at = f" at case {outcome.case}" if outcome.case else ""
                    wrong.append(f"{command.label}: {outcome.status}{at}, "
                                 f"\"{gist(outcome.text)}\"")
        num_good = sum(all(o.status == 0 for o in outcomes) for _, outcomes in done)
        if len(done) < len(step.commands):
            result["note"] = f"{len(step.commands) - len(done)} not reached; "
        if len(step.commands) > 1:
            result["note"] += f"{num_good} of {len(step.commands)} good"
        said = step.judge([o.text for _, outcomes in done for o in outcomes]) if (
            step.judge and not wrong) else ""
        if said.startswith("wrong: "):
            wrong.append(said)
        elif said:
            result["note"] += ("; " if result["note"] else "") + said
        if wrong:
            note = "; ".join(wrong)
            result["note"] += ("; " if result["note"] else "") + (
                note if len(note) <= MOST_NOTE else note[:MOST_NOTE] + " ...")
        complete = num_good == len(step.commands)
        result["result"] = ("incomplete" if step.optional and (wrong or not complete) else
                            "FAILED" if wrong else "passed" if complete else "incomplete")

    @staticmethod
    def notes(result):
        figures = ", ".join(f"{name} {value:,g}" for name, value in result["figures"].items())
        return "; ".join(text for text in (figures, result["note"]) if text)

    def write(self):
        lines = ["| step | result | seconds | |", "|---|---|---|---|"]
        for r in self.results:
            note = self.notes(r).replace("|", "/")
            lines.append(f"| {r['step']} | {r['result']} | {r['seconds']:.1f} | {note} |")
        lines += ["", *([] if self.slow > 1 else comparisons(self.results))]
        (self.output / "summary.md").write_text("\n".join(lines) + "\n")
        (self.output / "summary.json").write_text(json.dumps(self.results, indent=1) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("output", type=pathlib.Path)
    parser.add_argument("--minutes", type=float, default=8)
    parser.add_argument("--part", type=int, choices=(1, 2, 3, 4),
                        help="1: right, 2: fast, 3: beside PyTorch, 4: whole runs and tools; "
                             "all without it")
    parser.add_argument("--only", default="", help="steps whose name this matches")
    parser.add_argument("--skip", default="^$", help="but not those")
    parser.add_argument("--programs", type=pathlib.Path, help="a build folder; else the bundle's")
    parser.add_argument("--backend", choices=("cuda", "emulated"), default="cuda")
    options = parser.parse_args()
    session = Session(options)
    for step in Steps(options).all():
        if options.part is not None and options.part not in step.parts:
            continue
        if re.search(options.only, step.name) and not re.search(options.skip, step.name):
            session.do(step)
    session.close()
    print("\n" + (session.output / "summary.md").read_text()
          if session.results else "no step has such a name")
    sys.exit(1 if any(r["result"] == "FAILED" for r in session.results) else 0)


if __name__ == "__main__":
    main()
