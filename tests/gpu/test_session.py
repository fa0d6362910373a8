#!/usr/bin/env python3
"""session.py on machines that are imitated: what hangs, fails or is not there costs its step alone,
and figures are compared rightly."""
import argparse
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile
import time
import unittest

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE))
from comparisons import comparisons, figures_of  # noqa: E402
from processes import Command, Runner, members_of  # noqa: E402
from steps import Step, Steps, same_losses  # noqa: E402

# A program of test cases as tests/unit/kernels_cuda has them: case 2 hangs, case 4 ends the
# process, case 5 is wrong.
CASES = """
i=${ESPALIER_TEST_FIRST_CASE}
while [ $i -le 6 ]; do
  echo "case $i of 6: name $i"
  [ $i = 2 ] && sleep 3600
  [ $i = 4 ] && kill -9 $$
  [ $i = 5 ] && wrong=1
  i=$((i + 1))
done
exit ${wrong:-0}
"""
SILENCE_S = 20  # of a shell that has to print a line, on a machine with other load


class Scratch(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(tempfile.mkdtemp())
        self.addCleanup(shutil.rmtree, self.folder)


class Processes(Scratch):
    def runner(self):
        runner = Runner(self.folder / "log.txt", dict(os.environ))
        self.addCleanup(runner.log.close)
        return runner

    def test_cases_behind_one_that_hangs_or_crashes_are_run(self):
        command = Command(["sh", "-c", CASES], label="cases", has_cases=True)
        (_, outcomes), = self.runner().run_all([command], time.monotonic() + 600, 600, SILENCE_S, 1)
        self.assertEqual([o.status for o in outcomes], ["silent", -9, 1])
        self.assertEqual([o.case for o in outcomes], ["2 (name 2)", "4 (name 4)", ""])
        self.assertIn("case 6 of 6", outcomes[2].text)
        self.assertIn("ESPALIER_TEST_FIRST_CASE=5", (self.folder / "log.txt").read_text())

    def test_what_ignores_its_end_and_holds_the_output_is_ended_all_the_same(self):
        # As a rank of mpirun that waits for a GPU: in another process group, deaf, and with the
        # output open.
        deaf = "trap '' TERM; sleep 3600 & while :; do sleep 3600; done"
        words = ["bash", "-c", f"set -m; bash -c \"{deaf}\" & echo ranks; wait"]
        outcome = self.runner().run(Command(words), 600, SILENCE_S)
        self.assertEqual((outcome.status, outcome.text), ("silent", "ranks\n"))

    def test_sessions_are_told_apart(self):
        child = subprocess.Popen(["sleep", "3600"], start_new_session=True)
        self.addCleanup(child.wait)
        self.addCleanup(child.kill)
        self.assertEqual(members_of(child.pid), [child.pid])

    def test_a_program_that_is_not_there(self):
        outcome = self.runner().run(Command([str(self.folder / "none")]), 600, 600)
        self.assertEqual(outcome.status, "cannot be started")

    def test_the_log_has_an_end(self):
        runner = self.runner()
        runner.written = 1 << 40
        runner.run(Command(["sh", "-c", "yes | head -c 100000; echo last words"]), 600, 600)
        text = (self.folder / "log.txt").read_text()
        self.assertLess(len(text), 5000)
        self.assertIn("last words", text)


class WholeSession(Scratch):
    def programs(self, **scripts):
        """A build folder in which programs are shell scripts."""
        build = self.folder / "build"
        build.mkdir()
        for name in ("espalier", "unit_kernels_cuda", "mpi_model"):
            program = build / name
            program.write_text("#!/bin/sh\n" + scripts.get(name, "exit 0\n"))
            program.chmod(0o755)
        return build

    def session(self, build, *options, more=""):
        # No nvidia-smi, no compute-sanitizer, no ncu.
        tools = self.folder / "tools"
        tools.mkdir()
        for tool in ("sh", "uname", "ldd", "head", "nproc", "free", "df", "ls", "sleep"):
            if shutil.which(tool):
                (tools / tool).symlink_to(shutil.which(tool))
        done = subprocess.run([sys.executable, "-B", str(HERE / "session.py"),
                               str(self.folder / "out"), "--programs", str(build),
                               "--backend", "emulated", "--minutes", "30", *options],
                              env=dict(os.environ, PATH=f"{tools}:{more}"), capture_output=True,
                              text=True)
        return done.returncode, done.stdout + done.stderr

    def test_a_wrong_operator_fails_its_step_and_is_named(self):
        listing = ('case "$2" in --list*) [ "$1" = "[operators]" ] && echo "CUDA a, b" && '
                   'echo "CUDA c"; exit 2;; esac\n')
        build = self.programs(unit_kernels_cuda=listing +
                              '[ "$1" = "CUDA c" ] && exit 0\n'
                              'echo "case 1 of 1: first"\n'
                              'echo "  y: error 0.5 > 0.01; map"\nexit 1\n')
        status, text = self.session(build, "--only", "machine|operators beside|sanitizer|ncu")
        self.assertEqual(status, 1, text)
        self.assertIn("1 of 2 good", text)
        self.assertIn(r"CUDA a\, b: 1", text)
        self.assertIn("y: error 0.5 > 0.01", text)
        self.assertRegex(text, r"incomplete +[\d.]+ s  machine ")  # nvidia-smi is not there
        self.assertIn("no compute-sanitizer on this machine", text)
        self.assertFalse((self.folder / "out/gpu.csv").exists())
        self.assertIn("FAILED", (self.folder / "out/summary.md").read_text())

    def test_clocks_are_watched_as_long_as_the_session_lasts(self):
        build = self.programs()
        tools = self.folder / "smi"
        tools.mkdir()
        smi = tools / "nvidia-smi"
        smi.write_text('#!/bin/sh\ncase "$*" in *"-l 2"*) echo "$$"; exec sleep 3600;; esac\n'
                       "echo imitated\n")
        smi.chmod(0o755)
        status, text = self.session(build, "--only", "machine", more=tools)
        self.assertEqual(status, 0, text)
        pid = int((self.folder / "out/gpu.csv").read_text())
        self.assertFalse(pathlib.Path(f"/proc/{pid}").exists())
        self.assertIn("imitated", (self.folder / "out/log.txt").read_text())

    def test_parts_have_their_steps(self):
        names = {}
        options = argparse.Namespace(programs=self.programs(), backend="emulated")
        for step in Steps(options).all():
            for part in step.parts:
                names.setdefault(part, []).append(step.name)
        self.assertEqual(sorted(names), [1, 2, 3, 4])
        self.assertEqual(names[1][:4], ["machine", "first light: a tiny model",
                                        "operators beside the host's",
                                        "attention of 0.6b by provider"])
        self.assertTrue(any("PyTorch moe" in name for name in names[3]))


TABLE = """operators of one block
                                        ms    TFLOP/s      GB/s   floor ms   of peak  bound by
  residual + norm                     0.100      0.010    3400.0      0.090    90.0 %  memory
  norm backward                       0.200      0.010    2000.0      0.100    50.0 %  memory
  experts' gate_up product            2.000    400.000     100.0      1.000    50.0 %  FLOPs
  experts' gate_up, mma               2.500    320.000     100.0      1.000    40.0 %  FLOPs
  experts' gate_up, wgmma             1.250    640.000     100.0      1.000    80.0 %  FLOPs
  experts' gate_up, dense             1.000    800.000     100.0      1.000   100.0 %  FLOPs
  sort                                0.100
"""


class Figures(unittest.TestCase):
    def results(self, **figures):
        return [{"step": name.replace("_", " "), "figures": values}
                for name, values in figures.items()]

    def test_operators_by_their_peaks_and_kernels(self):
        figures = dict(figures_of(Step("operators of moe", [], 1, rows=True), TABLE))
        self.assertEqual(figures["norm backward ms"], 0.2)
        said = comparisons(self.results(operators_of_moe=figures))
        self.assertEqual(said, [
            "operators of moe: 1 of 2 memory-bound rows reach 85 % of the copy rate; "
            "not norm backward 50 %",
            "experts' gate_up: mma at 40 %, wgmma at 80 % of the dense product's rate"])

    def test_speeds_are_compared_with_the_faster_pytorch(self):
        said = comparisons([
            {"step": "bench 0.6b", "figures": {"tokens_per_second": 120.0}},
            {"step": "PyTorch 0.6b bf16", "figures": {"tokens_per_second": 100.0}},
            {"step": "PyTorch 0.6b autocast", "figures": {"tokens_per_second": 80.0}},
            {"step": "bench 1.7b", "figures": {"tokens_per_second": 50.0}}])
        self.assertEqual(said, ["Qwen3-0.6B: 1.200 times PyTorch, one round of each"])

    def test_attention_beside_cudnn_of_either_program(self):
        said = comparisons([
            {"step": "attention of 0.6b by provider",
             "figures": {"wgmma": 1.1, "wgmma backward": 3.0, "cudnn backward, any order": 2.0}},
            {"step": "attention in PyTorch", "figures": {"cudnn": 1.0, "flash": 2.0}}])
        self.assertEqual(said, [
            "attention forward: wgmma takes 1.100 times the time of PyTorch's cudnn, one round",
            "attention backward: wgmma takes 1.500 times the time of cudnn backward, any order, "
            "one round"])

    def test_losses_of_runs(self):
        one = "step   1  loss 11.93000  0.1 s\nstep   2  loss 11.50000  0.1 s\n"
        near = one.replace("11.50000", "11.50900")
        far = one.replace("11.50000", "11.90000")
        self.assertIn("the same bits twice", same_losses([one, one, near]))
        self.assertIn("two runs differ", same_losses([one, near]))
        self.assertTrue(same_losses([one, one, far]).startswith("wrong: "))
        bad = one.replace("11.50000", "nan")
        self.assertTrue(same_losses([one, one, bad]).startswith("wrong: "))
        self.assertTrue(same_losses([bad, bad]).startswith("wrong: "))
        self.assertTrue(same_losses(["", ""]).startswith("wrong: "))


if __name__ == "__main__":
    unittest.main()
