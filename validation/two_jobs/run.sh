#!/usr/bin/env bash
# Starts two jobs in one run directory, fifty times; see README.md.
#
# Usage    validation/two_jobs/run.sh               (build/espalier exists)
#          ESPALIER=file ROUNDS=50 SEED=1
# Writes   build/two_jobs/ and build/two_jobs/result.md; prints the table.
set -euo pipefail
cd "$(dirname "$0")/../.."
espalier="${ESPALIER:-build/espalier}"
out=build/two_jobs
tokenizer=inputs/tests/bytes.tiktoken
rm -rf "$out"
mkdir -p "$out"
if [[ $(id -u) -eq 0 ]]; then
  export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
fi

# This repository's own sources are text enough.
cat src/*/*.hpp >"$out/text.txt"
"$espalier" tokenize inputs/tests/tiny.toml "data.tokenizer=$tokenizer" \
  "tokenize.input=[\"$out/text.txt\"]" "tokenize.output=$out/data" >"$out/tokenize.log"
exec python3 tests/support/two_jobs.py --espalier "$espalier" --rounds "${ROUNDS:-50}" \
  --seed "${SEED:-1}" --work "$out" --report "$out/result.md" inputs/tests/tiny.toml \
  "data.tokenizer=$tokenizer" "data.train=$out/data" training.steps=200 \
  training.log_interval=100 checkpoint.interval=20
