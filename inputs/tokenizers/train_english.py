#!/usr/bin/env python3
"""Trains inputs/tokenizers/english-8k/tokenizer.json; README.md beside it says on what and why.

    apt-get install dict-gcide dict-wn && pip install tokenizers==0.23.3
    python3 inputs/tokenizers/train_english.py
"""
import gzip
import json
import pathlib

from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, pre_tokenizers
from tokenizers import trainers

VOCABULARY = 8192  # with <|endoftext|>; a multiple of 128, so that it divides over tensor ranks
SOURCES = ["/usr/share/dictd/gcide.dict.dz", "/usr/share/dictd/wn.dict.dz"]
QWEN = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}"
        r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+")


def main():
    tokenizer = Tokenizer(models.BPE())
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(QWEN), behavior="isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=VOCABULARY - 1, show_progress=False, special_tokens=[],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()))

    def lines():
        for source in SOURCES:
            with gzip.open(source, "rt", encoding="utf-8", errors="replace") as file:
                yield from file

    tokenizer.train_from_iterator(lines(), trainer)
    # Last, as in the large vocabularies: the ids below are the bytes and their merges.
    tokenizer.add_special_tokens([AddedToken("<|endoftext|>", normalized=False, special=True)])
    folder = pathlib.Path(__file__).parent / "english-8k"
    folder.mkdir(exist_ok=True)
    tokenizer.save(str(folder / "tokenizer.json"), pretty=False)
    written = json.loads((folder / "tokenizer.json").read_text())
    print(tokenizer.get_vocab_size(), "entries,", len(written["model"]["merges"]), "merges")


if __name__ == "__main__":
    main()
