#!/usr/bin/env bash
# Measures whole training steps of a small Qwen3-MoE beside transformers on this machine.
#
# Usage    validation/moe_speed/run.sh [ROUNDS]         (2 rounds by default; build/espalier exists)
#          VENV=dir          Python environment with torch and transformers; made here when it is
#                            missing (default build/venv; installs them from PyPI, several GB)
#          THREADS=2         threads of either program
#          ESPALIER=file     the binary (default build/espalier)
# The two programs run one after the other on the same cores, in turn, ROUNDS times. A first run of
# transformers fills the compiler's cache and is not counted. The machine should be idle.
# Writes   build/moe_speed/<machine's date>/*.log, and prints the table. Status 1: below the bound.
set -euo pipefail
rounds="${1:-2}"
source "$(dirname "${BASH_SOURCE[0]}")/../support/beside_pytorch.sh" moe_speed torch transformers

transformers() {  # MODE EXPERTS ROUND [OPTION ...]
  taskset -c "$cores" "$venv/bin/python" validation/moe_speed/transformers_train.py "$1" \
    --experts "$2" --threads "$threads" "${@:4}" \
    >"$out/transformers-$1-$2-$3.log" 2>"$out/transformers-$1-$2-$3.err"
}
ours() {  # DTYPE ROUND
  taskset -c "$cores" "$espalier" bench inputs/bench/host-moe.toml "training.dtype=$1" \
    >"$out/espalier-$1-$2.log" 2>"$out/espalier-$1-$2.err"
}

for mode in fp32-compiled autocast-compiled; do
  transformers "$mode" grouped_mm warm --warmup 1 --steps 1
done
for ((round = 1; round <= rounds; ++round)); do
  echo "Round $round of $rounds"
  for pair in fp32:float32 autocast:bfloat16; do
    transformers "${pair%:*}-compiled" grouped_mm "$round"
    ours "${pair#*:}" "$round"
  done
done
# For completeness, once: the other ways that transformers has to compute experts.
for experts in eager batched_mm; do
  transformers fp32-eager "$experts" 1 --steps 2 || echo "transformers has no $experts here"
  transformers autocast-eager "$experts" 1 --steps 2 || echo "transformers has no $experts here"
done
python3 validation/moe_speed/table.py "$out"
