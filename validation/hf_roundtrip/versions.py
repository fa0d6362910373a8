#!/usr/bin/env python3
"""Models with experts from one version of transformers through Espalier to another: the logits.

transformers 4 and 5 write and keep experts apart in different ways (a tensor for each matrix of
each expert, or one for all), and other keys in config.json, some of which the other version ignores.
Logits of one version are equal bit for bit; from one to the other the sums differ, as version 5
takes gate and up in one product.

Usage    versions.py [--program build/espalier] [--second FOLDER]
         FOLDER holds another transformers than the one that is installed:
         pip install --target FOLDER --no-deps transformers==4.57.6 tokenizers==0.22.1 \\
             huggingface-hub==0.36.0 &&
         pip install --target FOLDER requests
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[2]
CASES = {
    "all sparse, tied": dict(num_experts=8, num_experts_per_tok=2, norm_topk_prob=True,
                             tie_word_embeddings=True),
    "mixed, untied": dict(num_experts=16, num_experts_per_tok=4, norm_topk_prob=False,
                          mlp_only_layers=[0], decoder_sparse_step=2, tie_word_embeddings=False),
}
SIZES = dict(vocab_size=257, hidden_size=64, intermediate_size=96, moe_intermediate_size=40,
             num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=2, head_dim=24,
             max_position_embeddings=256)


BOUND = 1e-6  # between versions; logits are about 1


def in_this_version(action, case, folder, logits):
    """Runs in a process of its own: another one has another transformers."""
    import numpy as np
    import torch
    import transformers
    transformers.utils.logging.set_verbosity_error()
    torch.set_num_threads(1)
    of_5 = int(transformers.__version__.split(".")[0]) >= 5
    rope = {"rope_parameters": {"rope_theta": 3e5, "rope_type": "default"}} if of_5 else \
        {"rope_theta": 3e5}
    if action == "version":
        print(transformers.__version__)
        return
    if action == "read":
        model = transformers.AutoModelForCausalLM.from_pretrained(
            folder, dtype=torch.float32, attn_implementation="eager")
    else:
        torch.manual_seed(5)
        config = transformers.Qwen3MoeConfig(**SIZES, **CASES[case], **rope,
                                             attn_implementation="eager")
        model = transformers.AutoModelForCausalLM.from_config(config)
        for parameter in model.parameters():
            torch.nn.init.normal_(parameter, mean=0.05, std=0.15)
        joined = {"save_original_format": False} if action == "write-joined" else {}
        model.save_pretrained(folder, **joined)
    if of_5:
        model.set_experts_implementation("eager")  # the sums of version 4
    ids = torch.arange(2 * 48).reshape(2, 48) * 7 % 257
    with torch.no_grad():
        np.save(logits, model.eval()(ids).logits.numpy())


def run_version(packages, *words):
    environment = dict(os.environ, PYTHONPATH=packages or "", HF_HUB_OFFLINE="1")
    done = subprocess.run([sys.executable, __file__, "--action", *map(str, words)], text=True,
                          env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if done.returncode != 0:
        raise RuntimeError(done.stdout + done.stderr)
    return done.stdout.strip()


def main():
    import numpy as np
    parser = argparse.ArgumentParser()
    parser.add_argument("--program", default=str(ROOT / "build/espalier"))
    parser.add_argument("--second", default=None)
    arguments = parser.parse_args()
    packages = [None] + ([arguments.second] if arguments.second else [])
    names = [run_version(p, "version", "", "", "") for p in packages]
    print("transformers " + " and ".join(names))
    print("| model | written by | experts in its file | read by | logits | largest difference |\n"
          "|---|---|---|---|---|---|")
    problems = 0
    with tempfile.TemporaryDirectory() as scratch:
        scratch = pathlib.Path(scratch)
        for i, case in enumerate(CASES):
            for j, writer in enumerate(packages):
                for action in ("write", "write-joined") if names[j] >= "5" else ("write",):
                    at = scratch / f"{i}-{j}-{action}"
                    run_version(writer, action, case, at / "theirs", f"{at}.npy")
                    header = json.loads((at / "theirs/config.json").read_text())
                    for end in (("theirs", "checkpoint"), ("checkpoint", "ours")):
                        done = subprocess.run([arguments.program, "convert", at / end[0],
                                               at / end[1]], capture_output=True, text=True)
                        if done.returncode != 0:
                            sys.exit(done.stdout + done.stderr)
                    for k, reader in enumerate(packages):
                        run_version(reader, "read", case, at / "ours", f"{at}-{k}.npy")
                        a, b = np.load(f"{at}.npy"), np.load(f"{at}-{k}.npy")
                        same = np.array_equal(a, b)
                        as_good = same if j == k else np.abs(a - b).max() <= BOUND
                        problems += not as_good
                        keys = "num_experts" if "num_experts" in header else "num_local_experts"
                        layout = "together" if action == "write-joined" else "apart"
                        verdict = ("equal bit for bit" if same else
                                   "the same" if as_good else "DIFFER")
                        print(f"| {case} | {names[j]}, {keys} | {layout} | {names[k]} | {verdict} | "
                              f"{np.abs(a - b).max():.1e} |", flush=True)
    print("all logits are the same" if not problems else f"{problems} differ")
    return 1 if problems else 0


if __name__ == "__main__":
    if sys.argv[1:2] == ["--action"]:
        in_this_version(*sys.argv[2:])
    else:
        sys.exit(main())
