#!/usr/bin/env python3
"""Tokenizers with the structure of other families' published files and vocabularies of our own.

    pip install tokenizers==0.23.3
    make_families.py <folder>

Writes <folder>/<family>/tokenizer.json for every family of tests/fixtures/tokenizer/families.py. The
vocabularies are trained on the dictionaries, on code and on text made to be difficult, with merges
that cross every cut of the pre-tokenisers: what is cut elsewhere has other ids.
"""
import itertools
import json
import pathlib
import sys

from tokenizers import Tokenizer

import corpora

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "tests/fixtures/tokenizer"))
import families  # noqa: E402

VOCABULARY = 16_000


def training_texts():
    for text in corpora.chunks():
        yield text[:60_000].decode("utf-8", errors="replace")
    yield from families.texts()
    for kind, step in ((corpora.code, 40), (corpora.blanks, 7), (corpora.contractions, 3),
                       (corpora.adversarial, 20)):
        for text in itertools.islice(kind(), 0, None, step):
            yield text[:20_000].decode("utf-8", errors="replace")


def main():
    folder = pathlib.Path(sys.argv[1])
    texts = list(training_texts())
    print(f"{sum(map(len, texts)) / 1e6:.1f} million characters to train on", flush=True)
    models = {"bytes": families.train_bytes(VOCABULARY, texts),
              "characters": families.train_characters(VOCABULARY, texts)}
    for name in families.FAMILIES:
        model = models["bytes" if name in families.BYTE_LEVEL else "characters"]
        path = folder / name.replace(" ", "-") / "tokenizer.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        described = families.describe(name, model)
        path.write_text(described, encoding="utf-8")
        ids = {token["id"] for token in json.loads(described)["added_tokens"]}
        known = Tokenizer.from_str(described)
        assert ids == set(known.get_added_tokens_decoder()), name
        print(f"{path}: {known.get_vocab_size()} ids", flush=True)


if __name__ == "__main__":
    main()
