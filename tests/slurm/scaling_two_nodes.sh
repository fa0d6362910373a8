#!/usr/bin/env bash
# The real jobscripts/scaling.slurm on a real Slurm of two nodes.
#
# Usage   tests/slurm/scaling_two_nodes.sh BUILD_DIRECTORY
# Checks  1 one job measures strong and weak scaling on the ranks of one node and of two
#         2 a number of nodes that the job has not is refused with the program's status, and the
#           folder of results that is there is not written into
# Status  0 all hold, 1 one does not, 77 it cannot run here (not root, or Slurm is not installed).
set -euo pipefail
root="$(cd "$(dirname "$0")/../.." && pwd)"
build="$(cd "${1:?usage: scaling_two_nodes.sh BUILD_DIRECTORY}" && pwd)"
source "$root/tests/slurm/two_nodes.sh"
source "$root/tests/slurm/training_runs.sh"

mkdir "$work/slurm"
local_slurm_start "$work/slurm"
export JOB=scaling RESULTS="$work/results"
short=(inputs/tests/tiny.toml bench.warmup_steps=0 bench.steps=2)

echo "1: strong and weak"
job="$(submit "$work/scaling.out" "${short[@]}")"
wait_for_end "$job"
check_equal "status of the job" 0:0 "$(job_field "$job" ExitCode)"
# Both nodes are this machine, and one host to the program: its column of nodes says nothing here.
columns() { cut -d, -f1,3 "$RESULTS/$1.csv" | tr '\n' ' '; }
check_equal "strong" "ranks,global_batch_size 1,8 2,8 " "$(columns strong)"
check_equal "weak" "ranks,global_batch_size 1,8 2,16 " "$(columns weak)"
grep -q "</svg>" "$RESULTS/strong.svg" || fail "no whole chart of strong scaling"
grep -q "</svg>" "$RESULTS/weak.svg" || fail "no whole chart of weak scaling"

echo "2: what cannot be"
before="$(cat "$RESULTS"/*)"
job="$(submit "$work/there.out" "${short[@]}")"
wait_for_end "$job"
check_equal "status where results are there" 74:0 "$(job_field "$job" ExitCode)"
[[ "$before" == "$(cat "$RESULTS"/*)" ]] || fail "results that were there have changed"
job="$(RESULTS="$work/more" NODE_COUNTS="1 4" submit "$work/more.out" "${short[@]}")"
wait_for_end "$job"
check_equal "status with more nodes than there are" 78:0 "$(job_field "$job" ExitCode)"
grep -q "bench.ranks" "$work/more.out" || fail "the log does not say why"
echo "ok: all of it"
