"""Tokenizing goes on where it was killed, and its shards are those of a run that was never."""
import hashlib
import json
import os
import pathlib
import shutil
import sys
import tempfile
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))
from support.runs import BYTES, espalier, killed_at_change  # noqa: E402


def shards(folder):
    """Path in the folder -> hash of every shard."""
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
            for path in sorted(folder.rglob("*.h5"))}


class Restart(unittest.TestCase):
    def setUp(self):
        self.folder = pathlib.Path(os.path.realpath(tempfile.mkdtemp(prefix="espalier-test-")))
        self.text = self.folder / "text.jsonl"
        self.write_text(1)

    def write_text(self, length):
        with open(self.text, "w") as file:
            for i in range(400):
                meta = {"set": ["web", "books"][i % 2]} if i % 50 else {}
                file.write(json.dumps({"text": f"document {i} " * (i % 13 + 1) * length,
                                       "meta": meta}) + "\n")

    def tearDown(self):
        shutil.rmtree(self.folder, ignore_errors=True)

    def arguments(self, name, *more):
        return ["tokenize", f"data.tokenizer={BYTES}", f'tokenize.input=["{self.text}"]',
                f"tokenize.output={self.folder / name}", "tokenize.source_key=meta.set",
                "tokenize.validation_fraction=0.1", "tokenize.shard_tokens=8000", *more]

    def test_after_a_kill_at_any_change_the_same_command_goes_on(self):
        espalier(1, *self.arguments("whole"))
        expected = shards(self.folder / "whole")
        self.assertEqual({name.split("/")[0] for name in expected}, {"web", "books", "unknown"})
        went_on = 0
        for number in range(1, 1000, 9):
            output = self.folder / f"killed{number}"
            was_killed = killed_at_change(number, output, *self.arguments(output.name))
            if not output.exists():
                went_on += "units are there" in espalier(1, *self.arguments(output.name))
            self.assertEqual(shards(output), expected, f"killed at change {number}")
            self.assertFalse(pathlib.Path(f"{output}.unfinished").exists())
            if not was_killed:
                break
        self.assertGreater(number, 50)
        self.assertGreater(went_on, 3)

    def test_other_ranks_go_on_and_another_input_does_not(self):
        output = self.folder / "shards"
        self.write_text(8)  # the bad line is behind what is read as a sample
        espalier(1, *self.arguments("whole"))
        # A bad line in the last unit: the units before it are kept.
        good = self.text.read_text()
        time = os.stat(self.text)
        self.text.write_text(good[:-4] + "x}}\n")
        os.utime(self.text, ns=(time.st_atime_ns, time.st_mtime_ns))
        said = espalier(1, *self.arguments("shards"), status=65)
        self.assertIn("text.jsonl:400:", said)
        self.assertIn("tokenize.shard_tokens was 8000 and is 9000",
                      espalier(1, *self.arguments("shards", "tokenize.shard_tokens=9000"), status=78))
        self.assertIn("remove the folder",
                      espalier(1, *self.arguments("shards", "tokenize.on_bad_line=skip"), status=78))
        self.text.write_text(good)
        self.assertIn("was written anew", espalier(1, *self.arguments("shards"), status=78))
        os.utime(self.text, ns=(time.st_atime_ns, time.st_mtime_ns))
        self.assertIn("units are there", espalier(2, *self.arguments("shards")))
        self.assertEqual(shards(output), shards(self.folder / "whole"))

    def test_files_in_the_unfinished_folder(self):
        espalier(1, *self.arguments("whole"))
        unfinished = self.folder / "asked.unfinished"
        unfinished.mkdir()
        (unfinished / "stop").touch()
        said = espalier(1, *self.arguments("asked"), status=75)
        self.assertIn("no unit is kept", said)
        self.assertFalse(unfinished.exists())
        # What is done is kept, and the file is heard once.
        number = 1
        while not list(unfinished.glob("units/*.done")):
            killed_at_change(number, unfinished, *self.arguments("asked"))
            number += 20
        self.assertFalse((self.folder / "asked").exists())
        (unfinished / "stop").touch()
        said = espalier(1, *self.arguments("asked"), status=75)
        self.assertRegex(said, r"[1-9]\d* of \d+ units are done and kept")
        self.assertFalse((unfinished / "stop").exists())
        (unfinished / "status").touch()
        said = espalier(1, *self.arguments("asked"))
        self.assertIn("units are there", said)
        self.assertRegex(said, r"documents \| .* \| .* left")  # a line that was asked for
        self.assertEqual(shards(self.folder / "asked"), shards(self.folder / "whole"))
        self.assertFalse((self.folder / "asked" / "status").exists())

    def test_a_damaged_file_gives_what_is_before_the_damage(self):
        import gzip
        packed = gzip.compress(self.text.read_bytes())
        self.text.rename(self.folder / "kept")
        self.text = self.folder / "cut.jsonl.gz"
        self.text.write_bytes(packed[:len(packed) * 2 // 3])
        self.assertIn("cut off", espalier(1, *self.arguments("stop"), status=65))
        said = espalier(2, *self.arguments("skip", "tokenize.on_bad_file=skip"))
        self.assertIn("damaged     what is before the damage was taken", said)
        report = json.loads((self.folder / "skip" / "report.json").read_text())
        self.assertEqual(list(report["damaged_files"]), [str(self.text)])
        self.assertGreater(report["documents"], 100)
        self.assertLess(report["documents"], 400)
        self.assertEqual(sum(split["documents"] for source in report["sources"].values()
                             for split in source.values()), report["documents"])


if __name__ == "__main__":
    unittest.main()
