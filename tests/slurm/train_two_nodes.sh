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

source "$root/tests/slurm/training_runs.sh"
make_training_data

mkdir "$work/slurm"
local_slurm_start "$work/slurm"

endless=1000000000  # steps: the run cannot be over before the signal, however late that comes

echo "1: stop by signal"
run="$work/run"
arguments+=(checkpoint.interval=0)
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
