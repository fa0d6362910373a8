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
source "$root/tests/slurm/two_nodes.sh"

submit() {  # LOG INPUT AND OVERRIDES ...; prints the job's number
  ESPALIER="$build/espalier" jobscripts/submit.sh cpu --nodes=2 --time=60 --output="$1" "${@:2}" |
    grep -oE '[0-9]+$'
}

# --- history.csv
rows() { if [[ -f "$1/history.csv" ]]; then tail -n +2 "$1/history.csv" | wc -l; else echo 0; fi; }
has_rows() { [[ "$(rows "$1")" -ge "$2" ]]; }  # RUN ROWS
wait_for_rows() {  # RUN ROWS
  local_slurm_until has_rows "$@" || fail "$1/history.csv still has $(rows "$1") rows, not $2"
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
arguments=(model.vocab_size=8192 "data.tokenizer=$tokenizer" "data.train=$work/data"
  checkpoint.interval=0)
endless=1000000000  # steps: the run cannot be over before the signal, however late that comes

echo "1: stop by signal"
run="$work/run"
arguments_here=(inputs/tests/tiny.toml "${arguments[@]}" "output.directory=$run")
job="$(submit "$work/first.out" "${arguments_here[@]}" "training.steps=$endless")"
wait_for_rows "$run" 10
check_equal "nodes of the job" "n[1-2]" "$(job_field "$job" NodeList)"
scancel --signal=USR2 "$job"
wait_for_end "$job"
check_equal "status of the stopped job" 75:0 "$(job_field "$job" ExitCode)"
stopped="$(newest_checkpoint_step "$run")"
check_equal "newest checkpoint's step is the last one trained" "$(rows "$run")" "$stopped"

echo "2: go on and finish"
cp "$run/history.csv" "$work/first.csv"
steps="$((stopped + 50))"
job="$(submit "$work/second.out" "${arguments_here[@]}" "training.steps=$steps")"
wait_for_end "$job"
check_equal "status of the second job" 0:0 "$(job_field "$job" ExitCode)"
diff "$work/first.csv" <(head -n "$((stopped + 1))" "$run/history.csv") ||
  fail "the second job changed the first one's rows"
echo "ok: the first job's rows are untouched"

echo "3: every step once"
check_all_steps "$run" "$steps"

echo "4: the job resubmits itself"
run="$work/requeued"
input="$work/input.toml"
sed "s/^steps = .*/steps = $endless/" inputs/tests/tiny.toml >"$input"
job="$(AUTO_RESUBMIT=1 submit "$work/requeued.out" "$input" "${arguments[@]}" \
  "output.directory=$run")"
wait_for_rows "$run" 10
# The job has read its input and reads it again when it comes back: only then it has an end.
steps="$(( $(rows "$run") + 100 ))"
sed "s/^steps = .*/steps = $steps/" inputs/tests/tiny.toml >"$input"
scancel --signal=USR2 "$job"
wait_for_end "$job"
check_equal "status of the requeued job" 0:0 "$(job_field "$job" ExitCode)"
check_equal "restarts" 1 "$(job_field "$job" Restarts)"
# A signal that came late may have stopped it beyond.
[[ "$(rows "$run")" -ge "$steps" ]] || fail "only $(rows "$run") of $steps steps are done"
check_all_steps "$run" "$(rows "$run")"

echo "5: no daemon left"
pids=("${local_slurm_pids[@]}")
local_slurm_stop
for pid in "${pids[@]}"; do
  if kill -0 "$pid" 2>/dev/null; then fail "process $pid is still there"; fi
done
# Step daemons are children of slurmd, not of this shell: they are known by the configuration they
# were started with.
is_none_of_ours() { ! grep -qzx "SLURM_CONF=$SLURM_CONF" "/proc/$1/environ" 2>/dev/null; }  # PID
for folder in /proc/[0-9]*; do
  pid="$(basename "$folder")"
  [[ "$(cat "$folder/comm" 2>/dev/null)" == slurm* ]] || continue
  # One whose job is over ends by itself, but not at once.
  local_slurm_until is_none_of_ours "$pid" || fail "process $pid does not end"
done
echo "ok: all of it"
