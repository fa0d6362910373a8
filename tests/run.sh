#!/usr/bin/env bash
# Builds Espalier and runs all its tests. On a bare Debian 12 it first installs what is missing.
#
# Usage   tests/run.sh [CTEST OPTION ...]       for example: tests/run.sh -L unit
#                                                            tests/run.sh -R mpi_train -V
#         ESPALIER_CUDA=AUTO  compile the CUDA kernels where nvcc is (AUTO), always (ON), never (OFF)
#         JOBS=2    tests that run at one time (a test of n ranks counts as n, at most 2)
# Tests with the label `gpu` are left out on a machine without an NVIDIA GPU.
# Writes  build/ and nothing else. The exit status is ctest's.
set -euo pipefail
cd "$(dirname "$0")/.."

bash jobscripts/install-dependencies.sh tests
bash jobscripts/fetch-arrow.sh || echo "Without Apache Arrow, its tests are skipped by name." >&2
# A quickstart on a machine without a GPU has configured the kernels away.
cmake --preset release "-DESPALIER_CUDA=${ESPALIER_CUDA:-AUTO}"
cmake --build build

options=()
if ! { command -v nvidia-smi && nvidia-smi -L; } >/dev/null 2>&1; then
  options+=(--label-exclude '^gpu$')
fi
exec ctest --test-dir build --output-on-failure --parallel "${JOBS:-2}" \
  ${options[@]+"${options[@]}"} "$@"
