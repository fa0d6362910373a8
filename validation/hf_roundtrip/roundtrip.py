#!/usr/bin/env python3
"""Models of transformers through `espalier convert` and back: the same tensors, bit by bit, and a
folder that transformers loads as it is and that computes the same logits.

Usage: roundtrip.py [--espalier build/espalier] [--ranks N]
Needs torch, transformers and tokenizers. Prints a line per case; status 1 when one fails."""
import argparse
import os
import pathlib
import subprocess
import sys
import tempfile

import safetensors.torch
import torch
import transformers

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOKENIZERS = ROOT / "tests/fixtures/tokenizer"
TEXT = "It's 1,234 o'clock: naïve café\n\n  déjà vu — ½ 日本 <|endoftext|> done"


def rope(theta, **scaling):
    """The rotary keys of a config, as this version of transformers takes them."""
    if int(transformers.__version__.split(".")[0]) < 5:
        return {"rope_theta": theta, "rope_scaling": scaling or None}
    return {"rope_parameters": {"rope_theta": theta, "rope_type": "default", **scaling}}


def models():
    sizes = dict(vocab_size=1200, hidden_size=64, intermediate_size=96, num_hidden_layers=2,
                 num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=256,
                 initializer_range=0.2)
    llama3 = rope(5e5, rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0,
                  original_max_position_embeddings=64)
    yield "qwen3 tied", transformers.Qwen3Config(
        **sizes, head_dim=24, **rope(1e6), tie_word_embeddings=True)
    yield "qwen3 untied", transformers.Qwen3Config(
        **sizes, head_dim=24, **rope(1e6), tie_word_embeddings=False)
    yield "llama scaled rope, tied", transformers.LlamaConfig(
        **sizes, **llama3, rms_norm_eps=1e-5, tie_word_embeddings=True)
    yield "llama untied", transformers.LlamaConfig(
        **sizes, **rope(1e4), tie_word_embeddings=False)
    experts = dict(**sizes, head_dim=24, **rope(1e6), num_experts_per_tok=2,
                   moe_intermediate_size=40)
    yield "qwen3_moe tied", transformers.Qwen3MoeConfig(
        **experts, num_experts=8, norm_topk_prob=True, tie_word_embeddings=True)
    yield "qwen3_moe untied, a dense block", transformers.Qwen3MoeConfig(
        **experts, num_experts=6, mlp_only_layers=[0], tie_word_embeddings=False)
    yield "gpt2", transformers.GPT2Config(
        vocab_size=1200, n_embd=64, n_layer=2, n_head=4, n_positions=256, initializer_range=0.2,
        bos_token_id=0, eos_token_id=0)


def run(arguments, *words):
    command = [str(arguments.espalier), *map(str, words)]
    if arguments.ranks > 1:
        command = ["mpirun", "--oversubscribe", "-n", str(arguments.ranks), *command]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        raise RuntimeError(done.stdout)
    return done.stdout


def tensors(folder):
    result = {}
    for path in sorted(pathlib.Path(folder).glob("*.safetensors")):
        result.update(safetensors.torch.load_file(path))
    return result


def logits(folder, ids):
    model = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype="auto")
    with torch.no_grad():
        return model.eval()(ids).logits


def round_trip(arguments, scratch, name, config, dtype, tokenizer):
    torch.manual_seed(3)
    model = transformers.AutoModelForCausalLM.from_config(config).to(dtype)
    for parameter in model.parameters():  # norms and biases too must not be ones and zeros
        torch.nn.init.normal_(parameter, mean=0.1, std=0.2)
    source, checkpoint, target = (scratch / part for part in ("source", "checkpoint", "target"))
    model.save_pretrained(source, max_shard_size="100KB")
    (source / "tokenizer.json").write_bytes(tokenizer.read_bytes())
    run(arguments, "convert", source, checkpoint)
    run(arguments, "convert", checkpoint, target, "convert.shard_bytes=90000",
        *(["convert.dtype=float16"] if dtype == torch.float16 else []))
    there, here = tensors(source), tensors(target)
    assert sorted(there) == sorted(here), sorted(set(there) ^ set(here))
    for key, value in there.items():
        assert value.dtype == here[key].dtype and value.shape == here[key].shape, key
        integers = torch.int32 if dtype == torch.float32 else torch.int16
        assert torch.equal(value.view(integers), here[key].view(integers)), key
    ids = torch.arange(150).reshape(2, 75) * 7 % 1200
    assert torch.equal(logits(source, ids), logits(target, ids)), "logits"
    theirs = transformers.PreTrainedTokenizerFast(tokenizer_file=str(tokenizer))
    ours = transformers.AutoTokenizer.from_pretrained(target)
    assert ours(TEXT).input_ids == theirs(TEXT).input_ids, "ids"
    separator = "<|end_of_text|>" if "llama" in name else "<|endoftext|>"
    assert ours.eos_token == separator, ours.eos_token
    return len(there), sum(value.numel() for value in there.values())


def tiktoken_becomes_json(arguments, scratch):
    """A checkpoint trained with a .tiktoken file gets a tokenizer.json with the same ids."""
    config = next(models())[1]
    transformers.AutoModelForCausalLM.from_config(config).save_pretrained(scratch / "source")
    run(arguments, "convert", scratch / "source", scratch / "checkpoint",
        f"data.tokenizer={TOKENIZERS / 'qwen.tiktoken'}")
    run(arguments, "convert", scratch / "checkpoint", scratch / "target")
    ours = transformers.AutoTokenizer.from_pretrained(scratch / "target")
    reference = transformers.PreTrainedTokenizerFast(
        tokenizer_file=str(TOKENIZERS / "qwen.json"))
    assert ours(TEXT).input_ids[:8] == reference(TEXT).input_ids[:8]
    inspected = run(arguments, "inspect", scratch / "target/tokenizer.json",
                    TOKENIZERS / "qwen.tiktoken")
    identities = {line.split()[1] for line in inspected.splitlines() if "identity" in line}
    assert len(identities) == 1, inspected


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--espalier", type=pathlib.Path, default=ROOT / "build/espalier")
    parser.add_argument("--ranks", type=int, default=1)
    arguments = parser.parse_args()
    print(f"torch {torch.__version__}, transformers {transformers.__version__}, "
          f"{arguments.ranks} rank(s)")
    failed = 0
    cases = [(f"{name}, {str(dtype)[6:]}", name, config, dtype) for name, config in models()
             for dtype in (torch.float32, torch.bfloat16, torch.float16)]
    for title, name, config, dtype in cases:
        file = {"qwen3": "qwen", "qwen3_moe": "qwen", "llama": "llama3",
                "gpt2": "gpt2"}[name.split()[0]]
        with tempfile.TemporaryDirectory() as scratch:
            try:
                count, elements = round_trip(arguments, pathlib.Path(scratch), name, config, dtype,
                                             TOKENIZERS / f"{file}.json")
                print(f"{title}: {count} tensors of {elements:,} elements and the logits are "
                      "bitwise equal, the tokenizer loads")
            except (AssertionError, RuntimeError, ValueError, OSError) as error:
                failed += 1
                print(f"{title}: FAILED: {error}")
    with tempfile.TemporaryDirectory() as scratch:
        tiktoken_becomes_json(arguments, pathlib.Path(scratch))
        print(".tiktoken to tokenizer.json: same identity, same ids")
    return 1 if failed else 0


if __name__ == "__main__":
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    transformers.utils.logging.disable_progress_bar()
    sys.exit(main())
