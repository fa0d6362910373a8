"""What a model folder says of tokens and of generation survives, and is done: tokens that end a
text, the token before a document, ids without a token, prompts that cannot be continued."""
import json
import pathlib
import struct
import subprocess
import sys
import unittest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2]))
from support import hf_folder  # noqa: E402
from support.runs import BINARY, RunCase, environment, espalier  # noqa: E402

USAGE, DATA, IO, CONFIGURATION = 64, 65, 74, 78
FIXTURES = pathlib.Path(__file__).resolve().parents[2] / "fixtures/tokenizer"
VOCABULARY = 1100  # ids of the fixtures are below 1010


def tokenizer_json(name, added=(), begin=None):
    """A fixture with other added tokens, where given, and a template that puts one before a text."""
    document = json.loads((FIXTURES / f"{name}.json").read_text())
    if added:
        document["added_tokens"] = [{"id": i, "content": text, "special": True, "lstrip": False,
                                     "rstrip": False, "single_word": False, "normalized": False}
                                    for i, text in added]
    if begin:
        document["post_processor"] = {
            "type": "TemplateProcessing",
            "single": [{"SpecialToken": {"id": begin, "type_id": 0}},
                       {"Sequence": {"id": "A", "type_id": 0}}]}
    return json.dumps(document)


class SpecialTokens(RunCase):
    def source(self, name, tokenizer, likely=None, **changes):
        """A Llama whose most likely token is always `likely`, else a random one; the files that go
        with it."""
        config = hf_folder.tiny_config("llama", vocab_size=VOCABULARY, num_hidden_layers=1,
                                       tie_word_embeddings=False, **changes)
        tensors = hf_folder.random_tensors(config, seed=3)
        if likely is not None:
            H = config["hidden_size"]
            rows = [10.0 if row == likely else 0.0 for row in range(VOCABULARY)]
            tensors["lm_head.weight"] = ([VOCABULARY, H], b"".join(
                struct.pack("<f", row) * H for row in rows))
            tensors["model.embed_tokens.weight"] = ([VOCABULARY, H],
                                                    struct.pack("<f", 100.0) * H * VOCABULARY)
        path = hf_folder.write_folder(self.folder / name, config, tensors)
        (path / "tokenizer.json").write_text(tokenizer)
        return path

    def convert(self, source, *overrides, **options):
        target = self.folder / f"{pathlib.Path(source).name}-ckpt"
        output = espalier(1, "convert", source, target, *overrides, **options)
        return target, output

    def answers(self, checkpoint, text, *overrides, name="prompts.txt", status=0):
        file = self.folder / name
        file.write_bytes(text if isinstance(text, bytes) else text.encode())
        output = espalier(1, "generate", checkpoint, "--prompts", file, "generate.temperature=0",
                          "generate.max_new_tokens=3", *overrides, status=status)
        return [json.loads(line) for line in output.splitlines() if line.startswith("{")], output

    def test_words_keep_their_blanks(self):
        """A decoder that takes the blank of the first word leaves those of an answer."""
        document = json.loads((FIXTURES / "families/llama-2.json").read_text())
        document["model"] = json.loads((FIXTURES / "families/characters.model").read_text())
        word, likely = next((token[1:], i) for token, i in document["model"]["vocab"].items()
                            if token.startswith("\u2581") and token[1:].isalpha() and i < VOCABULARY)
        source = self.source("blanks", json.dumps(document), likely)
        checkpoint, _ = self.convert(source)
        answers, _ = self.answers(checkpoint, "one\n")
        self.assertEqual(answers[0]["text"], f" {word}" * 3)
        output = espalier(1, "generate", checkpoint, "--prompt", "one", "generate.temperature=0",
                          "generate.max_new_tokens=3")
        self.assertIn("one" + f" {word}" * 3, output)

    def test_there_and_back(self):
        settings = ('{"bos_token_id": 1000, "do_sample": true,\n "eos_token_id": [1002, 1000], '
                    '"pad_token_id": 1000, "temperature": 0.6, "top_k": 20, "top_p": 0.95, '
                    '"repetition_penalty": 1.05, "x": "ü\\"\\\\"}\n')
        cases = [({"bos_token_id": 1000, "eos_token_id": 1002, "pad_token_id": 1000}, settings),
                 ({"bos_token_id": 1001, "eos_token_id": [1002, 1000]}, None),
                 ({"bos_token_id": None, "eos_token_id": None}, '{"max_new_tokens": 7}')]
        for i, (tokens, generation) in enumerate(cases):
            with self.subTest(tokens):
                source = self.source(f"chat{i}", tokenizer_json("qwen"), **tokens)
                if generation:
                    (source / "generation_config.json").write_text(generation)
                back = self.folder / f"chat{i}-out"
                checkpoint, _ = self.convert(source)
                espalier(2, "convert", checkpoint, back)
                written = json.loads((back / "config.json").read_text())
                for key, value in tokens.items():
                    # Without any, the separator ends a text, as in every export.
                    expected = 1000 if key == "eos_token_id" and value is None else value
                    self.assertEqual(written[key], expected, key)
                text = (back / "generation_config.json").read_text()
                if generation:
                    self.assertEqual(text, generation)
                else:
                    self.assertEqual(json.loads(text)["eos_token_id"], tokens["eos_token_id"])
        # They are still there when a training has started from them and gone on.
        for steps in (1, 2):
            self.train("tuned", "training.micro_batch_size=8",
                       f"model.initial_weights={self.folder / 'chat0'}", "model.model_type=llama",
                       f"model.vocab_size={VOCABULARY}", "model.num_hidden_layers=1",
                       "model.tie_word_embeddings=false", "schedule.warmup_steps=0",
                       f"training.steps={steps}")
        espalier(1, "convert", self.folder / "tuned", self.folder / "tuned-out")
        self.assertEqual((self.folder / "tuned-out/generation_config.json").read_text(), settings)
        # What is no id, or no JSON, is refused by name.
        for key, value in (("eos_token_id", "</s>"), ("eos_token_id", [1, None]),
                           ("bos_token_id", 1.5), ("pad_token_id", 1 << 40)):
            source = self.source(f"bad-{key}-{type(value).__name__}", tokenizer_json("qwen"),
                                 **{key: value})
            self.assertIn(key, self.convert(source, status=DATA)[1])
        source = self.source("bad-generation", tokenizer_json("qwen"))
        for text in ("{", "[]", '{"eos_token_id": "x"}'):
            (source / "generation_config.json").write_text(text)
            self.assertIn("generation_config.json", self.convert(source, status=DATA)[1])

    def test_every_end_of_the_model_ends_a_text(self):
        cases = [({"eos_token_id": 1002}, None, 0),                            # <|im_end|>
                 ({"eos_token_id": [1004, 1002]}, None, 0),
                 ({"eos_token_id": 1004}, '{"eos_token_id": [1000, 1002]}', 0),
                 ({"eos_token_id": 1004}, None, 3)]                            # another one
        for i, (tokens, generation, expected) in enumerate(cases):
            source = self.source(f"end{i}", tokenizer_json("qwen"), likely=1002, **tokens)
            if generation:
                (source / "generation_config.json").write_text(generation)
            checkpoint, _ = self.convert(source)
            got, _ = self.answers(checkpoint, "fox\n")
            self.assertEqual(got[0]["tokens"], [1002] * expected, tokens)
        got, _ = self.answers(self.folder / "end0-ckpt", "fox\n",
                              "generate.ignore_end_of_text=true")
        self.assertEqual(got[0]["tokens"], [1002] * 3)
        # The separator is an end, whatever the folder says.
        checkpoint, _ = self.convert(self.source("separator", tokenizer_json("qwen"), likely=1000,
                                                 eos_token_id=1002))
        self.assertEqual(self.answers(checkpoint, "fox\n")[0][0]["tokens"], [])

    def test_a_separator_of_another_name(self):
        tokenizer = tokenizer_json("gpt2", added=[(1000, "<bos>"), (1001, "<eos>")])
        source = self.source("named", tokenizer, likely=1001, eos_token_id=1090)
        file = source / "tokenizer.json"
        shards = [f"data.tokenizer={file}", f'tokenize.input=["{self.folder / "book.txt"}"]']
        # Nobody says which: generate has no use for one, tokenize names the key.
        checkpoint, output = self.convert(source)
        self.assertIn("eos_token_id 1090 is no token", output)
        got, _ = self.answers(checkpoint, "fox\n")
        self.assertEqual(got[0]["tokens"], [1001] * 3)
        output = espalier(1, "tokenize", *shards, f"tokenize.output={self.folder}/none",
                          status=DATA)
        self.assertIn("data.document_separator_token", output)
        # The folder says so, in either form.
        for i, name in enumerate(('"<eos>"', '{"content": "<eos>", "lstrip": false}')):
            (source / "tokenizer_config.json").write_text(f'{{"eos_token": {name}}}')
            espalier(1, "convert", source, self.folder / f"said{i}")
            got, _ = self.answers(self.folder / f"said{i}", "fox\n")
            self.assertEqual(got[0]["tokens"], [])
        # A key says so.
        key = "data.document_separator_token"
        espalier(1, "tokenize", *shards, f"tokenize.output={self.folder}/eos", f"{key}=<eos>")
        self.assertIn("end of text 1001", espalier(1, "inspect", self.folder / "eos/train-00000.h5"))
        output = espalier(1, "tokenize", *shards, f"tokenize.output={self.folder}/bad",
                          f"{key}=<nobody>", status=CONFIGURATION)
        self.assertIn(key, output)

    def test_the_token_before_a_document(self):
        file = self.folder / "llama3.json"
        file.write_text(tokenizer_json("llama3", begin="<|begin_of_text|>"))
        text = self.folder / "documents.jsonl"
        text.write_text("".join(json.dumps({"text": f"{i} of the documents\n" * 9}) + "\n"
                                for i in range(40)))

        def tokenize(name, *overrides, status=0):
            return espalier(1, "tokenize", f"data.tokenizer={file}", f'tokenize.input=["{text}"]',
                            f"tokenize.output={self.folder / name}", *overrides, status=status)

        def first_tokens(name):
            output = espalier(1, "inspect", self.folder / name / "train-00000.h5")
            return output[output.index("first tokens"):].split()[2:]

        key = "data.begin_of_document"
        tokenize("bos-auto")
        tokenize("bos-named", f"{key}=<|begin_of_text|>")
        tokenize("bos-none", f"{key}=none")
        self.assertIn(key, tokenize("bos-bad", f"{key}=two words", status=CONFIGURATION))
        self.assertEqual(first_tokens("bos-auto")[0], "1000")
        self.assertEqual(first_tokens("bos-auto")[1:], first_tokens("bos-none")[:-1])
        self.assertEqual((self.folder / "bos-auto/train-00000.h5").read_bytes(),
                         (self.folder / "bos-named/train-00000.h5").read_bytes())
        self.assertIn("<|begin_of_text|> (1000)", espalier(1, "inspect", file))

        # Training says when the shards have none, and what it trained is what is then done.
        def train(name, shards, *overrides):
            return self.train(name, f"data.train={self.folder / shards}", "data.validation=",
                              f"data.tokenizer={file}", f"model.vocab_size={VOCABULARY}",
                              "training.micro_batch_size=8", "training.steps=1",
                              "schedule.warmup_steps=0", *overrides)
        warning = "do not begin with it"
        self.assertNotIn(warning, train("with", "bos-auto"))
        self.assertIn(warning, train("without", "bos-none", "--dry-run"))
        self.assertIn(warning, train("without", "bos-none"))
        self.assertNotIn(warning, train("meant", "bos-none", f"{key}=none"))

        def loss(run, *overrides):
            output = espalier(1, "eval", self.folder / run, "--text", text, *overrides)
            return output[output.index("loss"):output.index(" of " + str(text))]
        self.assertEqual(loss("with"), loss("with", f"{key}=<|begin_of_text|>"))
        self.assertNotEqual(loss("with"), loss("with", f"{key}=none"))
        self.assertEqual(loss("without"), loss("without", f"{key}=none"))
        shards = f"data.validation={self.folder / 'bos-none' / 'train-00000.h5'}"
        self.assertIn("do not begin with <|begin_of_text|>",
                      espalier(1, "eval", self.folder / "with", shards))
        for run, prefix in (("with", "<|begin_of_text|>"), ("without", "<|end_of_text|>")):
            self.assertEqual(self.answers(self.folder / run, "a\n")[0],
                             self.answers(self.folder / run, "a\n", f"generate.prefix={prefix}")[0])

    def test_ids_without_a_token(self):
        """A hole, and rows past the tokenizer, have no text and are never the answer."""
        added = [(1000, "<|endoftext|>"), (1050, "<|far|>")]
        for likely in (1020, 1090):
            source = self.source(f"hole{likely}", tokenizer_json("gpt2", added), likely=likely)
            checkpoint, _ = self.convert(source)
            # All tokens are as likely, so the first of them is the most likely one.
            self.assertEqual(self.answers(checkpoint, "fox\n")[0][0]["tokens"], [0, 0, 0])
            got, _ = self.answers(checkpoint, "fox\n", "generate.temperature=100",
                                  "generate.top_p=1.0", "generate.max_new_tokens=50")
            self.assertTrue(all(token < 1001 or token == 1050 for token in got[0]["tokens"]))
        # One that is a token is one, wherever it is.
        checkpoint, _ = self.convert(self.source("far", tokenizer_json("gpt2", added), likely=1050))
        self.assertEqual(self.answers(checkpoint, "fox\n")[0][0]["text"], "<|far|>" * 3)

    def test_prompts(self):
        checkpoint, _ = self.convert(self.source("prompts", tokenizer_json("qwen"), likely=65))
        long = "fox " * 200
        # Lines as people have them: BOM, line ends of Windows, blank ones.
        got, _ = self.answers(checkpoint, "\ufefffox\r\n\r\n  \t\r\nhen")
        self.assertEqual([a["prompt"] for a in got], ["fox", "hen"])
        # One that is too long is named, answered and does not stop the others.
        got, output = self.answers(checkpoint, f"fox\n{long}\nhen\n", status=DATA)
        self.assertEqual([sorted(a) for a in got], [["prompt", "text", "tokens"],
                                                    ["error", "prompt"],
                                                    ["prompt", "text", "tokens"]])
        for words in ("prompts.txt:2:", "max_position_embeddings", "1 of 3"):
            self.assertIn(words, output)
        # Random numbers belong to the place of a prompt, not to those before it.
        lines = [{"text": "a"}, {"text": ""}, {"text": "b\nc"}, {"text": long}]
        text = "\ufeff" + "\r\n\n".join(json.dumps(line) for line in lines)
        got, _ = self.answers(checkpoint, text, name="p.jsonl", status=DATA)
        self.assertEqual([a["prompt"] for a in got], [line["text"] for line in lines[:3]] + [long])
        # Nothing to continue, where nothing stands before a prompt.
        got, output = self.answers(checkpoint, '{"text": ""}\n{"text": "a"}', "generate.prefix=",
                                   name="empty.jsonl", status=DATA)
        self.assertIn("empty", got[0]["error"])
        self.assertEqual(len(got), 2)
        for text, name in (("\n \r\n", "blank.txt"), ("\ufeff", "bom.txt"), ("", "nothing.jsonl")):
            self.assertIn("holds no prompt", self.answers(checkpoint, text, name=name,
                                                          status=DATA)[1])
        self.assertIn("bad.jsonl:2", self.answers(checkpoint, '{"text": "a"}\n{"text": 3}',
                                                  name="bad.jsonl", status=DATA)[1])
        # Text of another encoding is an error of the line that says so.
        done = subprocess.run([BINARY, "generate", str(checkpoint), "--prompt", b"\xff"],
                              env=environment(), capture_output=True, text=True)
        self.assertEqual(done.returncode, USAGE)
        self.assertIn("--prompt is not UTF-8", done.stderr)
        done = subprocess.run([BINARY, "generate", str(checkpoint), "--prompt", "-"],
                              env=environment(), capture_output=True, input=b"fox\xff")
        self.assertEqual(done.returncode, USAGE)
        self.assertIn(b"standard input is not UTF-8", done.stderr)

    def test_an_answer_that_nobody_gets_is_no_success(self):
        checkpoint, _ = self.convert(self.source("full", tokenizer_json("qwen"), likely=65))
        for command in (["generate", checkpoint, "--prompt", "fox", "generate.max_new_tokens=2"],
                        ["inspect", checkpoint]):
            words = [BINARY, *map(str, command)]
            with open("/dev/full", "w") as full:
                done = subprocess.run(words, env=environment(), stdout=full,
                                      stderr=subprocess.PIPE, text=True)
            self.assertEqual(done.returncode, IO, done.stderr)
            self.assertIn("standard output", done.stderr)
            done = subprocess.run(["bash", "-c", '"$@" >&-', "-", *words], env=environment(),
                                  stderr=subprocess.PIPE, text=True)
            self.assertEqual(done.returncode, IO, done.stderr)


if __name__ == "__main__":
    unittest.main()
