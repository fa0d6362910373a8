#!/usr/bin/env bash
# Measures Espalier beside PyTorch on this machine: whole training steps of the same model.
#
# Usage    validation/host_speed/run.sh [ROUNDS]        (3 rounds by default; build/espalier exists)
#          VENV=dir          Python environment with torch; made here when it is missing
#                            (default build/venv; installs torch from PyPI)
#          THREADS=2         threads of either program
#          ESPALIER=file     the binary (default build/espalier)
#          LEVEL=avx2        both programs limited to AVX2 (default auto: what the processor has).
#                            PyTorch's bf16 is left out there: it takes minutes for a step
# The two programs run one after the other on the same cores, in turn, ROUNDS times; the table has
# the median over the rounds. A first PyTorch run fills the compiler's cache and is not counted.
# The machine should be idle: anything else that runs makes both slower, not by the same factor.
# Writes   build/host_speed/<machine's date>/*.log and result.md, and prints result.md.
set -euo pipefail
rounds="${1:-3}"
level="${LEVEL:-auto}"
case "$level" in
  auto) ;;
  avx2) export ATEN_CPU_CAPABILITY=avx2 ONEDNN_MAX_CPU_ISA=AVX2 MKL_ENABLE_INSTRUCTIONS=AVX2
        export TORCHINDUCTOR_CPP_SIMDLEN=256 ;;
  *) echo "run.sh: LEVEL=$level is not known (auto, avx2)" >&2; exit 64 ;;
esac
source "$(dirname "${BASH_SOURCE[0]}")/../support/beside_pytorch.sh" host_speed torch

pytorch() {  # MODE ROUND [OPTION ...]
  local mode="$1" round="$2"
  taskset -c "$cores" "$venv/bin/python" validation/host_speed/pytorch_train.py "$mode" \
    --threads "$threads" "${@:3}" >"$out/pytorch-$mode-$round.log" 2>"$out/pytorch-$mode-$round.err"
}
ours() {  # DTYPE ROUND
  taskset -c "$cores" "$espalier" bench inputs/bench/host-42m.toml "training.dtype=$1" \
    "device.simd=$level" \
    >"$out/espalier-$1-$2.log" 2>"$out/espalier-$1-$2.err" || {
    cat "$out/espalier-$1-$2.err" >&2
    return 1
  }
}

echo "Filling the compiler's cache"
modes=(fp32-compiled)
[[ $level == auto ]] && modes+=(autocast-compiled bf16-compiled)
for mode in "${modes[@]}"; do
  pytorch "$mode" warm --warmup 1 --steps 1
done
for ((round = 1; round <= rounds; ++round)); do
  echo "Round $round of $rounds"
  pytorch fp32-compiled "$round"
  ours float32 "$round"
  [[ $level != auto ]] || pytorch autocast-compiled "$round"
  ours bfloat16 "$round"
  [[ $level != auto ]] || pytorch bf16-compiled "$round"
done
# For completeness, once.
pytorch fp32-eager 1
[[ $level != auto ]] || pytorch autocast-eager 1

python3 validation/host_speed/table.py "$out" "$level" | tee "$out/result.md"
