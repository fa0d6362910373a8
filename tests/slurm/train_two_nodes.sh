#!/usr/bin/env bash
# The real jobscripts/train.slurm on a real Slurm of two nodes: stop by signal, go on, finish.
#
# Usage   tests/slurm/train_two_nodes.sh BUILD_DIRECTORY
# Checks  1 the job spans two nodes and trains; SIGUSR2 makes it end with status 75 and a checkpoint
#         2 submitted again it goes on from that checkpoint, not from the start, and finishes
#         3 history.csv has every step exactly once
#         4 with AUTO_RESUBMIT=1 a stopped job comes back by itself and finishes
#         5 no daemon is left
# Status  0 all hold, 1 one does not, 77 it cannot run here (not root, or Slurm is not installed).
set -euo pipefail
root="$(cd "$(dirname "$0")/../.." && pwd)"
build="$(cd "${1:?usage: train_two_nodes.sh BUILD_DIRECTORY}" && pwd)"
source "$root/tests/slurm/local_slurm.sh"
cd "$root"

missing="$(local_slurm_missing)"
if [[ -n "$missing" ]]; then
  echo "skipped; missing: $missing" | tr '\n' ' '
  exit 77
fi

work="$(mktemp -d)"
finish() {
  local status=$?
  trap - EXIT
  local_slurm_stop
  if [[ $status -ne 0 ]]; then
    echo "--- job output"
    tail -n 60 "$work"/*.out 2>/dev/null || true
    echo "--- slurm"
    tail -n 20 "$work"/slurm/*.log 2>/dev/null || true
  fi
  rm -rf "$work"
  exit "$status"
}
trap finish EXIT
trap 'exit 143' TERM INT  # ctest's time limit: clean up as well

fail() {
  echo "FAILED: $1" >&2
  exit 1
}
check_equal() {  # WHAT EXPECTED FOUND
  [[ "$2" == "$3" ]] || fail "$1: expected $2, found $3"
  echo "ok: $1 is $3"
}

# --- what Slurm says of a job
job_field() { scontrol --oneliner show job "$1" | grep -oE " $2=[^ ]+" | head -n 1 | cut -d= -f2; }
wait_for_end() {  # JOB SECONDS
  local try
  for try in $(seq "$(( 10 * $2 ))"); do
    [[ -z "$(squeue --noheader --jobs="$1" 2>/dev/null)" ]] && return 0
    sleep 0.1
  done
  fail "job $1 has not ended after $2 s"
}
submit() {  # LOG INPUT AND OVERRIDES ...; prints the job's number
  ESPALIER="$build/espalier" jobscripts/submit.sh cpu --nodes=2 --time=10 --output="$1" "${@:2}" |
    grep -oE '[0-9]+$'
}

# --- history.csv
rows() { if [[ -f "$1/history.csv" ]]; then tail -n +2 "$1/history.csv" | wc -l; else echo 0; fi; }
wait_for_rows() {  # RUN ROWS SECONDS
  local try
  for try in $(seq "$(( 20 * $3 ))"); do
    [[ "$(rows "$1")" -ge "$2" ]] && return 0
    sleep 0.05
  done
  fail "$1/history.csv has $(rows "$1") rows after $3 s, not $2"
}
check_all_steps() {  # RUN STEPS
  diff <(seq "$2") <(tail -n +2 "$1/history.csv" | cut -d, -f1) ||
    fail "history.csv does not have every step from 1 to $2 exactly once"
  echo "ok: history.csv has every step from 1 to $2 exactly once"
}
newest_checkpoint_step() {
  local marker
  marker="$(ls -d "$1"/checkpoints/step-*/COMPLETE 2>/dev/null | sort | tail -n 1)"
  [[ -n "$marker" ]] || { echo none; return; }
  basename "$(dirname "$marker")" | sed 's/^step-0*//'
}

# --- data: this repository's own sources are text enough
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
tokenizer=inputs/tokenizers/english-8k/tokenizer.json
cat src/*/*.hpp src/*/*.cpp >"$work/text.txt"
"$build/espalier" tokenize inputs/tests/tiny.toml "data.tokenizer=$tokenizer" \
  "tokenize.input=[\"$work/text.txt\"]" "tokenize.output=$work/data" >"$work/tokenize.out" 2>&1

mkdir "$work/slurm"
local_slurm_start "$work/slurm"

# Both nodes share this machine's processors: one thread a rank, and no waiting at full speed.
export THREADS_PER_RANK=1 OMPI_MCA_mpi_yield_when_idle=1
steps=150
arguments=(inputs/tests/tiny.toml model.vocab_size=8192 "data.tokenizer=$tokenizer"
  "data.train=$work/data" "training.steps=$steps" checkpoint.interval=0)

echo "1: stop by signal"
run="$work/run"
job="$(submit "$work/first.out" "${arguments[@]}" "output.directory=$run")"
wait_for_rows "$run" 10 60
check_equal "nodes of the job" "n[1-2]" "$(job_field "$job" NodeList)"
scancel --signal=USR2 "$job"
wait_for_end "$job" 60
check_equal "status of the stopped job" 75:0 "$(job_field "$job" ExitCode)"
stopped="$(newest_checkpoint_step "$run")"
check_equal "newest checkpoint's step is the last one trained" "$(rows "$run")" "$stopped"
[[ "$stopped" -lt "$steps" ]] || fail "the run was over before the signal; make it longer"

echo "2: go on and finish"
cp "$run/history.csv" "$work/first.csv"
job="$(submit "$work/second.out" "${arguments[@]}" "output.directory=$run")"
wait_for_end "$job" 120
check_equal "status of the second job" 0:0 "$(job_field "$job" ExitCode)"
diff "$work/first.csv" <(head -n "$((stopped + 1))" "$run/history.csv") ||
  fail "the second job changed the first one's rows"
echo "ok: the first job's rows are untouched"

echo "3: every step once"
check_all_steps "$run" "$steps"

echo "4: the job resubmits itself"
run="$work/requeued"
job="$(AUTO_RESUBMIT=1 submit "$work/requeued.out" "${arguments[@]}" "output.directory=$run")"
wait_for_rows "$run" 10 60
scancel --signal=USR2 "$job"
wait_for_end "$job" 180
check_equal "status of the requeued job" 0:0 "$(job_field "$job" ExitCode)"
check_equal "restarts" 1 "$(job_field "$job" Restarts)"
check_all_steps "$run" "$steps"

echo "5: no daemon left"
pids=("${local_slurm_pids[@]}")
local_slurm_stop
for pid in "${pids[@]}"; do
  if kill -0 "$pid" 2>/dev/null; then fail "process $pid is still there"; fi
done
# Step daemons are children of slurmd, not of this shell: they are known by the configuration they
# were started with.
for environ in /proc/[0-9]*/environ; do
  pid="$(basename "$(dirname "$environ")")"
  [[ "$(cat "/proc/$pid/comm" 2>/dev/null)" == slurm* ]] || continue
  if { tr '\0' '\n' <"$environ"; } 2>/dev/null | grep -qx "SLURM_CONF=$SLURM_CONF"; then
    fail "process $pid ($(cat "/proc/$pid/comm")) is still there"
  fi
done
echo "ok: all of it"
