"""Token files that cannot be converted get an error that names them, and leave no shard."""
import pathlib
import struct
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))
from support.runs import BYTES, RunCase, espalier, killed_at_change  # noqa: E402
from support.token_files import read_shards, write_llmc, write_megatron  # noqa: E402

USAGE, DATA, CONFIGURATION = 64, 65, 78
TOKENIZER = f"data.tokenizer={BYTES}"
SEPARATOR = 256  # <|endoftext|> of the tokenizer, whose other ids are bytes


class BadInput(RunCase):
    def setUp(self):
        self.good = write_megatron(self.folder / "good", [[[1, 2]], [[3]], [[4, 5, 6]]], "uint16")
        self.target = self.folder / "target"

    def refused(self, *inputs, words=(), keys=(TOKENIZER,), status=DATA, ranks=1):
        output = espalier(ranks, "convert-tokens", *inputs, self.target, *keys, status=status)
        for word in words:
            self.assertIn(str(word), output)
        self.assertNotIn("internal error", output)
        self.assertFalse(self.target.exists())
        if ranks == 1:  # the folder of a job that another rank ended is removed by the next one
            self.assertFalse(list(self.folder.glob("target.unfinished")))

    def test_ids_that_the_tokenizer_has_not(self):
        for name, id, dtype in (("below", -1, "int32"), ("past", 257, "int32"),
                                ("wide", 2**32 + 5, "int64"), ("swapped", 7 << 24, "int32")):
            index = write_megatron(self.folder / name, [[[1, 2]], [[3, 4], [5, id]]], dtype)
            hint = ["big-endian"] if name == "swapped" else []
            for ranks in (1, 2):
                self.refused(self.good, index, ranks=ranks,
                             words=[f"{name}.bin", f"token 5 has id {id}", BYTES, "257", *hint])
        path = write_llmc(self.folder / "past.llmc.bin", [SEPARATOR, 1, 2, 40000, 5])
        self.refused(path, words=["past.llmc.bin", "token 3 has id 40000"])

    def test_damaged_files_are_found_before_anything_is_written(self):
        data = self.good.with_suffix(".bin").read_bytes()
        index = self.good.read_bytes()

        def megatron(name, index, data, *words):
            path = self.folder / f"{name}.idx"
            path.write_bytes(index)
            path.with_suffix(".bin").write_bytes(data)
            self.refused(self.good, path, words=[name, *words])

        megatron("short-data", index, data[:-2], "short-data.bin", "cut short")
        megatron("long-data", index, data + b"\0\0", "long-data.bin", "another one")
        megatron("short-index", index[:-8], data, "short-index.idx", "cut short")
        megatron("swapped", index[:9] + struct.pack(">Q", 1) + index[17:], data, "big-endian")
        megatron("code", index[:17] + b"\x0b" + index[18:], data, "type code 11 is unknown")
        megatron("floats", index[:17] + b"\x07" + index[18:], data, "floating-point")
        megatron("version", index[:9] + struct.pack("<Q", 3) + index[17:], data, "version 3")

        whole = write_llmc(self.folder / "whole.bin", [SEPARATOR, 1, 2]).read_bytes()
        for name, content, word in (("cut.bin", whole[:-1], "cut short"),
                                    ("swapped-llmc.bin", whole[3::-1] + whole[4:], "big-endian"),
                                    ("none.bin", b"\1\0\2\0" * 600, "no token file")):
            path = self.folder / name
            path.write_bytes(content)
            self.refused(self.good, path, words=[name, word])

    def test_command_lines(self):
        self.refused(words=["convert-tokens"], status=USAGE)
        self.refused(self.good, keys=(), words=["data.tokenizer"], status=CONFIGURATION)
        self.refused(self.folder / "none", words=["none", "no such file"])
        self.refused(self.good, self.good, words=["good.idx", "twice"])
        for key in ("tokenize.output=x", "training.steps=5", "tokenize.text_key=a"):
            self.refused(self.good, keys=(TOKENIZER, key), words=[key], status=CONFIGURATION)
        self.refused(self.good, keys=(TOKENIZER, "tokenize.validation_fraction=2"),
                     words=["validation_fraction"], status=CONFIGURATION)
        self.refused(self.good, keys=(TOKENIZER, 'data.document_separator_token="no such token"'),
                     words=["document_separator_token"], status=CONFIGURATION)
        empty = write_megatron(self.folder / "empty", [[[SEPARATOR]], []], "uint16")
        self.refused(empty, words=["no document with a text", "empty.idx"])

    def test_a_folder_that_holds_something_is_left_alone(self):
        output = self.folder / "full"
        output.mkdir()
        (output / "notes.txt").write_text("mine")
        printed = espalier(1, "convert-tokens", self.good, output, TOKENIZER, status=CONFIGURATION)
        self.assertIn("not overwritten", printed)
        self.assertEqual([path.name for path in output.iterdir()], ["notes.txt"])

    def test_a_wrong_separator_of_llmc_is_warned_of(self):
        path = write_llmc(self.folder / "wrong.bin", [7, 1, 2, 7, 3])
        printed = espalier(1, "convert-tokens", path, self.folder / "wrong", TOKENIZER)
        self.assertIn("does not occur in 1 of them", printed)
        self.assertIn("data.document_separator_token", printed)

    def test_killed_at_any_change_of_files_it_leaves_all_or_nothing(self):
        espalier(1, "convert-tokens", self.good, self.folder / "expected", TOKENIZER)
        expected = read_shards(self.folder / "expected")
        output = self.folder / "killed"
        number = 1
        while killed_at_change(number, output, "convert-tokens", self.good, output, TOKENIZER):
            if output.exists():
                self.assertEqual(read_shards(output), expected)
                break
            number += 1
        self.assertGreater(number, 3)
        self.assertEqual(read_shards(output), expected)  # what was killed is in nobody's way


if __name__ == "__main__":
    unittest.main()
