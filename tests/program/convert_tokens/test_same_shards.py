"""Token files of Megatron and llm.c give the shards that espalier tokenize makes of the same text:
tokens, documents, bytes of text and what is known of the tokenizer."""
import filecmp
import pathlib
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))
from support.runs import ROOT, RunCase, espalier  # noqa: E402
from support.token_files import read_shard, read_shards, write_llmc, write_megatron  # noqa: E402

TOKENIZER = f"data.tokenizer={ROOT}/inputs/tokenizers/english-8k/tokenizer.json"
MARK = 'data.begin_of_document="~"'  # a token that is not in the text
SEPARATOR = 8191


class SameShards(RunCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        text = (cls.folder / "book.txt").read_text().replace("~", "-")
        documents = [part[i:i + 700 + 13 * n] for n, part in enumerate(text.split("\f")[:40])
                     for i in (0, 700 + 13 * n) if part[i:]]
        (cls.folder / "text.txt").write_text("\f".join(documents))
        cls.number = 0
        cls.whole = cls.tokenize()
        cls.documents = read_shard(cls.whole / "train-00000.h5")[0]
        assert len(cls.documents) > 50 and max(max(d) for d in cls.documents) == SEPARATOR

    @classmethod
    def new_folder(cls):
        SameShards.number += 1
        return cls.folder / f"out{cls.number}"

    @classmethod
    def tokenize(cls, *keys):
        output = cls.new_folder()
        espalier(1, "tokenize", TOKENIZER, f'tokenize.input=["{cls.folder / "text.txt"}"]',
                 'tokenize.document_separator="\\f"', f"tokenize.output={output}", *keys)
        return output

    def convert(self, *words, ranks=1):
        output = self.new_folder()
        self.printed = espalier(ranks, "convert-tokens", *words[:1], output, TOKENIZER, *words[1:])
        return output

    def check_same(self, converted, tokenized=None):
        self.assertEqual(read_shards(converted), read_shards(tokenized or self.whole))
        self.assertIn("tokens", espalier(1, "inspect", converted / "train-00000.h5"))

    def without_separator(self):
        return [document[:-1] for document in self.documents]

    def test_of_megatron_in_every_type_with_and_without_append_eod(self):
        for dtype in ("uint16", "int32", "int64"):
            for documents, said in ((self.documents, "is kept"),
                                    (self.without_separator(), "is put behind every document")):
                prefix = self.folder / f"{dtype}-{said[-4:]}"
                write_megatron(prefix, [[document] for document in documents], dtype)
                self.check_same(self.convert(prefix))
                self.assertIn(said, self.printed)
                self.assertIn(f"Megatron, {len(documents)} documents, {dtype}", self.printed)

    def test_of_megatron_with_sentences_and_empty_documents(self):
        documents = []
        for document in self.documents:
            documents += [[document[:7], document[7:9], document[9:]], [], [[SEPARATOR]]]
        index = write_megatron(self.folder / "sentences", documents, "int16")
        self.check_same(self.convert(index))
        empty = 2 * len(self.documents)
        self.assertIn(f"{empty} empty document(s) are passed over", self.printed)

    def test_of_megatron_where_some_documents_end_with_the_separator(self):
        documents = self.documents[:10] + self.without_separator()[10:]
        write_megatron(self.folder / "mixed", [[document] for document in documents])
        self.check_same(self.convert(self.folder / "mixed.bin"))
        self.assertIn(f"at the end of 10 of {len(documents)} documents", self.printed)
        self.assertIn("put behind the others", self.printed)

    def stream(self):
        """llm.c's: the separator stands in front of a document."""
        return [id for document in self.documents for id in [SEPARATOR, *document[:-1]]]

    def test_of_llmc(self):
        for model, dtype in (("gpt-2", "uint16"), ("llama-3", "uint32")):
            path = write_llmc(self.folder / f"{model}.bin", self.stream(), model)
            self.check_same(self.convert(path))
            self.assertIn(f"llm.c, {dtype}, {len(self.stream()):,} tokens", self.printed)
            self.assertIn("is put behind it", self.printed)

    def test_of_llmc_cut_into_numbered_files(self):
        # In all places of a document: within, before its separator and behind it.
        stream, cuts = self.stream(), [0]
        second = 1 + stream[1:].index(SEPARATOR)
        cuts += [5, 6, second, second + 1]
        cuts += range(second + 100, len(stream), 4000)
        cuts.append(len(stream))
        folder = self.folder / "cut"
        folder.mkdir()
        for number, (a, b) in enumerate(zip(cuts, cuts[1:])):
            write_llmc(folder / f"text_train_{8 + number:06}.bin", stream[a:b])
        self.check_same(self.convert(folder))
        # Without a number that follows, what stands before the first separator is a document.
        (folder / "text_train_000009.bin").rename(folder / "text_train_00000.bin")
        documents = read_shard(self.convert(folder) / "train-00000.h5")[0]
        self.assertEqual(documents[0], [stream[5], SEPARATOR])
        self.assertIn("what stands before the first is a document", self.printed)

    def test_with_a_token_in_front_of_documents(self):
        marked = self.tokenize(MARK)
        documents = read_shard(marked / "train-00000.h5")[0]
        mark = documents[0][0]
        self.assertTrue(all(document[0] == mark for document in documents))
        for name, tokens, said in (
                ("kept", documents, "at the beginning of every document is kept"),
                ("missing", self.without_separator(), "is put in front of every document")):
            write_megatron(self.folder / name, [[document] for document in tokens])
            self.check_same(self.convert(self.folder / name, MARK), marked)
            self.assertIn(said, self.printed)
        # As llm.c's writer for Llama 3: the token in front, nothing behind. Or the separator.
        stream = [id for document in documents for id in document[:-1]]
        for number, ids in enumerate((stream, self.stream())):
            path = write_llmc(self.folder / f"marked-{number}.bin", ids, "llama-3")
            self.check_same(self.convert(path, MARK), marked)

    def test_the_same_on_any_number_of_ranks(self):
        keys = ("tokenize.validation_fraction=0.2", "tokenize.shard_tokens=2000")
        folder = self.folder / "both"
        folder.mkdir()
        write_megatron(folder / "a", [[document] for document in self.documents], "uint16")
        write_llmc(folder / "b.bin", self.stream())
        one = self.convert(folder, *keys)
        names = sorted(path.name for path in one.iterdir())
        self.assertGreater(len(names), 6)
        for ranks in (2, 3):
            output = self.convert(folder, *keys, ranks=ranks)
            self.assertEqual(filecmp.cmpfiles(one, output, names, shallow=False), (names, [], []))
            self.assertEqual(sorted(path.name for path in output.iterdir()), names)
        self.assertFalse(list(self.folder.glob("*.unfinished*")))

    def test_documents_go_to_the_split_that_tokenize_gives_them(self):
        key = "tokenize.validation_fraction=0.2"
        index = write_megatron(self.folder / "split", [[document] for document in self.documents])
        self.check_same(self.convert(index, key), self.tokenize(key))

    def test_a_dry_run_says_what_there_is_and_writes_nothing(self):
        index = write_megatron(self.folder / "dry", [[document] for document in self.documents])
        output = self.new_folder()
        printed = espalier(1, "convert-tokens", index, output, TOKENIZER, "--dry-run")
        self.assertIn("dry.idx: Megatron", printed)
        self.assertFalse(list(self.folder.glob(output.name + "*")))


if __name__ == "__main__":
    unittest.main()
