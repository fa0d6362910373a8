"""What a run says of itself: status.json, report.json, events, TensorBoard's event files, and the
commands that read run directories."""
import html.parser
import json
import pathlib
import re
import struct
import subprocess
import sys
import time
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))
from support.paper_gpu import write_device  # noqa: E402
from support.runs import HANG_S, RunCase, command, environment, espalier  # noqa: E402


def crc32c(data):
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def masked(data):
    crc = crc32c(data)
    return (crc >> 15 | crc << 17 & 0xFFFFFFFF) + 0xA282EAD8 & 0xFFFFFFFF


def fields(message):
    """(number, value) of a protobuf message."""
    at = 0

    def varint():
        nonlocal at
        value = shift = 0
        while True:
            byte = message[at]
            at += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value
    while at < len(message):
        key = varint()
        if key & 7 == 0:
            yield key >> 3, varint()
        else:
            size = {1: 8, 5: 4}.get(key & 7) or varint()
            yield key >> 3, message[at:at + size]
            at += size


def tensorboard(folder):
    """Scalars {tag: {step: value}} of all files, as TensorBoard reads them: a start drops what
    earlier files said of its step and of later ones."""
    scalars = {}
    for path in sorted(folder.iterdir()):
        assert "tfevents" in path.name
        data = path.read_bytes()
        at = 0
        while at < len(data):
            (size,) = struct.unpack_from("<Q", data, at)
            assert struct.unpack_from("<I", data, at + 8)[0] == masked(data[at:at + 8])
            event = data[at + 12:at + 12 + size]
            assert struct.unpack_from("<I", data, at + 12 + size)[0] == masked(event)
            at += 16 + size
            found = dict(fields(event))
            if 7 in found and dict(fields(found[7])).get(1) == 1:
                for values in scalars.values():
                    for step in [s for s in values if s >= found[2]]:
                        del values[step]
            for number, value in fields(found.get(5, b"")):
                assert number == 1
                of_value = dict(fields(value))
                (number,) = struct.unpack("<f", of_value[2])
                scalars.setdefault(of_value[1].decode(), {})[found[2]] = number
    return scalars


class Page(html.parser.HTMLParser):
    """Notes what a page would fetch, and that its elements are closed."""

    def __init__(self, text):
        super().__init__()
        self.outside, self.tags, self.open = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        if tag not in ("meta", "input", "link", "br", "path", "rect", "circle"):
            self.open.append(tag)
        self.outside += [v for k, v in attributes if k in ("src", "href", "xlink:href")]

    def handle_endtag(self, tag):
        if tag in self.open:
            while self.open.pop() != tag:
                pass


class Reports(RunCase):
    def json(self, name, file):
        return json.loads((self.folder / name / file).read_text())

    def events(self, name):
        lines = (self.folder / name / "events.jsonl").read_text().splitlines()
        return [json.loads(line) for line in lines]

    def test_two_jobs_and_what_they_leave(self):
        options = ["output.tensorboard=true", "validation.interval=10", "checkpoint.interval=5"]
        # The first one beside a plan.
        device = write_device(self.folder)
        self.train("run", *options, "run.stop_after=12", f'plan.device=["{device}"]', status=75)
        status = self.json("run", "status.json")
        self.assertEqual((status["state"], status["step"], status["steps"], status["job"]),
                         ("stopped", 12, 20, 1))
        self.train("run", *options, ranks=2)
        status = self.json("run", "status.json")
        self.assertEqual((status["state"], status["step"], status["job"], status["ranks"]),
                         ("finished", 20, 2, 2))
        self.assertIsNone(status.get("activity") or None)
        self.assertEqual(status["validation"]["step"], 20)

        report = self.json("run", "report.json")
        self.assertEqual(report, self.json("run", "jobs/0002/report.json"))
        self.assertEqual((report["first_step"], report["last_step"], report["ranks"]), (12, 20, 2))
        for account in report["time"], report["whole_run"]:
            parts = sum(v for k, v in account.items() if k.endswith("_s") and k != "wall_s")
            self.assertAlmostEqual(parts, account["wall_s"], delta=1e-6 * account["wall_s"])
        self.assertEqual(report["whole_run"]["jobs"], 2)
        self.assertIsNone(report["planned"])
        planned = self.json("run", "jobs/0001/report.json")["planned"]
        self.assertAlmostEqual(planned["tokens_per_second"] * planned["step_s"], 256, 6)
        self.assertAlmostEqual(sum(planned["parts_s"].values()), planned["step_s"], 9)
        log = (self.folder / "run" / "run.log").read_text()
        self.assertRegex(log, "planned for .*: .* tok/s, .* s a step; measured .* of the plan")
        self.assertEqual(report["time"]["replay_s"], 0.0)
        for phase in report["phases"]:
            self.assertLessEqual(phase["min_s"], phase["mean_s"] * (1 + 1e-9))
            self.assertLessEqual(phase["mean_s"], phase["max_s"] * (1 + 1e-9))
            self.assertIn(phase["slowest_rank"], (0, 1))
        ends = [e for e in self.events("run") if e["event"] == "end"]
        self.assertEqual([(e["state"], e["status"], e["steps"]) for e in ends],
                         [("stopped", 75, 12), ("finished", 0, 8)])
        self.assertTrue((self.folder / "run/jobs/0001/input.toml").exists())

        scalars = tensorboard(self.folder / "run/tensorboard")
        for column, tag in ((2, "loss"), (3, "grad_norm"), (4, "learning_rate")):
            rows = {int(row[0]): float(row[column]) for row in self.history("run")}
            found = scalars["train/" + tag]
            self.assertEqual(sorted(found), sorted(rows))
            for step, value in rows.items():
                self.assertAlmostEqual(found[step], value, delta=1e-6 * abs(value))
        self.assertEqual(sorted(scalars["validation/bits_per_byte"]), [10, 20])
        self.assertTrue({"train/mfu", "train/tokens_per_second"} <= set(scalars))

        text = espalier(1, "status", self.folder / "run")
        for words in ("finished", "20 of 20", "2 jobs, 1 restart", "no faults", "goodput"):
            self.assertIn(words, text)
        rows = json.loads(espalier(1, "status", self.folder / "run", "--format", "json"))
        self.assertEqual((rows[0]["state"], rows[0]["step"]), ("finished", 20))

        page = self.folder / "page.html"
        charts = self.folder / "charts"
        espalier(1, "report", self.folder / "run", "--write", page, "--charts", charts)
        text = page.read_text()
        seen = Page(text)
        self.assertEqual(seen.outside, [])
        self.assertNotIn("script", seen.tags)
        self.assertEqual(seen.open, [])
        self.assertFalse(re.search(r"url\(|@import|//(?!www\.w3\.org)[a-z]", text))
        names = {path.stem for path in charts.iterdir()}
        self.assertLessEqual({"loss-by-steps", "mfu-by-flops", "wall-time", "phases", "memory"},
                             names)

    def test_steps_that_were_lost_count_as_replay(self):
        options = ["checkpoint.interval=0", "training.steps=1000000"]  # no end of its own
        self.train("whole", *options, "run.stop_after=6", status=75)
        # The second job is killed behind its last checkpoint.
        process = subprocess.Popen(command(1, "train", *self.keys("whole", *options)),
                                   env=environment(), stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL)
        end = time.monotonic() + HANG_S
        while len(self.history("whole")) < 9:
            self.assertLess(time.monotonic(), end, "the second job makes no steps")
            time.sleep(0.01)
        process.kill()
        process.wait()
        # A row that the kill tore is none.
        text = (self.folder / "whole" / "history.csv").read_text()
        done = text[:text.rfind("\n")].count("\n")
        dead = espalier(1, "status", self.folder / "whole")
        self.assertIn("no sign of life", dead)
        self.train("whole", *options, "run.stop_after=5", status=75)
        start = [e for e in self.events("whole") if e["event"] == "start"][-1]
        self.assertEqual((start["step"], start["lost_steps"]), (6, done - 6))
        self.assertGreater(self.json("whole", "report.json")["time"]["replay_s"], 0.0)
        self.assertEqual([int(row[0]) for row in self.history("whole")], list(range(1, 12)))

    def test_what_is_no_run_is_named(self):
        empty = self.folder / "empty"
        empty.mkdir(exist_ok=True)
        for command in "status", "report":
            self.assertIn(str(empty), espalier(1, command, empty, status=65))
            self.assertIn("nowhere", espalier(1, command, self.folder / "nowhere", status=65))
        old = self.folder / "old"
        old.mkdir(exist_ok=True)
        (old / "history.csv").write_text("step,tokens,loss,grad_norm,learning_rate,"
                                         "tokens_per_second\n1,10,2.5,1,0.1,100\n2,20,2.4,1,0.1,9")
        self.assertIn("older version", espalier(1, "status", old))
        espalier(1, "report", old, "--write", self.folder / "old.html")
        mine = self.folder / "mine.html"
        mine.write_text("mine")
        self.assertIn(str(mine), espalier(1, "report", old, "--write", mine, status=78))
        self.assertEqual(mine.read_text(), "mine")
        (old / "history.csv").write_text("something else\n")
        self.assertIn("history.csv", espalier(1, "report", old, status=65))


if __name__ == "__main__":
    unittest.main()
