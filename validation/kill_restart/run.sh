#!/usr/bin/env bash
# Kills and restarts a small training run ten times on each of three grids; see README.md.
#
# Usage    validation/kill_restart/run.sh           (build/espalier exists)
#          ESPALIER=file ROUNDS=10 SEED=1
# Writes   build/kill_restart/<grid>/ and build/kill_restart/result.md; prints the tables.
set -euo pipefail
cd "$(dirname "$0")/../.."
espalier="${ESPALIER:-build/espalier}"
out=build/kill_restart
tokenizer=inputs/tokenizers/english-8k/tokenizer.json
mkdir -p "$out"
if [[ $(id -u) -eq 0 ]]; then
  export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
fi

# This repository's own sources are text enough.
cat src/*/*.hpp src/*/*.cpp io/*.cpp parallel/*.cpp >"$out/text.txt"
"$espalier" tokenize inputs/tests/tiny.toml "data.tokenizer=$tokenizer" \
  "tokenize.input=[\"$out/text.txt\"]" "tokenize.output=$out/data" >"$out/tokenize.log"

status=0
: >"$out/result.md"
for grid in "1 2" "2 1" "2 2"; do
  read -r tensor data <<<"$grid"
  echo "tensor $tensor x data $data" | tee -a "$out/result.md"
  python3 tests/support/kill_restart.py --espalier "$espalier" --ranks "$((tensor * data))" \
    --rounds "${ROUNDS:-10}" --seed "${SEED:-1}" --work "$out/$tensor-x-$data" \
    --report "$out/$tensor-x-$data.md" inputs/tests/tiny.toml \
    "data.tokenizer=$tokenizer" "data.train=$out/data" model.vocab_size=8192 \
    model.hidden_size=192 "parallel.tensor=$tensor" "parallel.data=$data" \
    training.steps=400 training.log_interval=50 checkpoint.interval=20 || status=1
  cat "$out/$tensor-x-$data.md" >>"$out/result.md" 2>/dev/null || true
done
exit "$status"
