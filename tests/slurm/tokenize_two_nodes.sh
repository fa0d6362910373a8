#!/usr/bin/env bash
# The real jobscripts/tokenize.slurm on a real Slurm of two nodes: stop by signal, go on, finish.
#
# Usage   tests/slurm/tokenize_two_nodes.sh BUILD_DIRECTORY
# Checks  1 the job spans two nodes; SIGUSR2 makes it end with status 75, and no shard is there yet
#         2 submitted again it goes on with the units that are left, and finishes
#         3 its shards are those of a run without Slurm on one rank
#         4 with AUTO_RESUBMIT=1 a stopped job comes back by itself, finishes with the same shards
#         5 a wrong input ends the job with the program's status, at once
# Status  0 all hold, 1 one does not, 77 it cannot run here (not root, or Slurm is not installed).
set -euo pipefail
root="$(cd "$(dirname "$0")/../.." && pwd)"
build="$(cd "${1:?usage: tokenize_two_nodes.sh BUILD_DIRECTORY}" && pwd)"
source "$root/tests/slurm/two_nodes.sh"

hashes() { (cd "$1" && find . -name '*.h5' -exec sha256sum {} + | sort -k 2); }

# --- 60 files, each a unit or more; every rank waits at its 9th change of files under the output
export OMPI_ALLOW_RUN_AS_ROOT=1 OMPI_ALLOW_RUN_AS_ROOT_CONFIRM=1
export THREADS_PER_RANK=1 OMPI_MCA_mpi_yield_when_idle=1 ESPALIER="$work/espalier"
mkdir "$work/slurm" "$work/text"
cat src/*/*.hpp >"$work/once"
for number in $(seq -w 60); do
  { echo "file $number"; cat "$work/once"; } >"$work/text/$number.txt"
done
cat >"$work/input.toml" <<TOML
[data]
tokenizer = "inputs/tokenizers/english-8k/tokenizer.json"
[tokenize]
input = ["$work/text"]
shard_tokens = 200_000
TOML
# A signal that is sent then meets a job whose work is not done, however fast the machine is.
cat >"$work/espalier" <<SCRIPT
#!/usr/bin/env bash
export LD_PRELOAD="$build/tests/libkilled_at_change.so"
export ESPALIER_KILL_UNDER="$work/job" ESPALIER_KILL_AT=9 ESPALIER_KILL_WITH=19
exec "$build/espalier" "\$@"
SCRIPT
chmod +x "$work/espalier"

ranks() { pgrep --full "^$build/espalier tokenize $work/input.toml"; }
some_rank_waits() { [[ "$(ps -o state= -p "$(ranks | paste -s -d,)" 2>/dev/null)" == *T* ]]; }
before_stop() {  # or Slurm would wait for those that are stopped
  resume_ranks
}
resume_ranks() { ranks | xargs -r kill -CONT 2>/dev/null || true; }
has_ended_or_resume() { has_ended "$1" || { resume_ranks; false; }; }  # JOB
wait_for_end() { local_slurm_until has_ended_or_resume "$1" || fail "job $1 does not end"; }
submit() {  # LOG OUTPUT; prints the job's number
  sbatch --parsable --nodes=2 --time=60 --output="$1" jobscripts/tokenize.slurm \
    "$work/input.toml" "tokenize.output=$2"
}

"$build/espalier" tokenize "$work/input.toml" "tokenize.output=$work/alone" >"$work/alone.out" 2>&1
local_slurm_start "$work/slurm"

echo "1: stop by signal"
job="$(submit "$work/first.out" "$work/job1")"
local_slurm_until some_rank_waits || fail "no rank comes to its first shards"
check_equal "nodes of the job" "n[1-2]" "$(job_field "$job" NodeList)"
scancel --signal=USR2 "$job"
wait_for_end "$job"
check_equal "status of the stopped job" 75:0 "$(job_field "$job" ExitCode)"
[[ ! -e "$work/job1" ]] || fail "the output of a stopped job has its final name"

echo "2: go on and finish"
job="$(submit "$work/second.out" "$work/job1")"
wait_for_end "$job"
check_equal "status of the second job" 0:0 "$(job_field "$job" ExitCode)"
grep -q "units are there" "$work/second.out" || fail "the second job began anew"
[[ ! -e "$work/job1.unfinished" ]] || fail "what was at work is still there"

echo "3: the same shards"
diff <(hashes "$work/alone") <(hashes "$work/job1") || fail "the shards differ"
echo "ok: $(hashes "$work/alone" | wc -l) shards are those of one rank without Slurm"

echo "4: the job resubmits itself"
job="$(AUTO_RESUBMIT=1 submit "$work/requeued.out" "$work/job4")"
local_slurm_until some_rank_waits || fail "no rank comes to its first shards"
scancel --signal=USR2 "$job"
wait_for_end "$job"
check_equal "status of the requeued job" 0:0 "$(job_field "$job" ExitCode)"
check_equal "restarts" 1 "$(job_field "$job" Restarts)"
diff <(hashes "$work/alone") <(hashes "$work/job4") || fail "the shards differ"

echo "5: a wrong input"
job="$(submit "$work/wrong.out" "$work/text")"
wait_for_end "$job"
check_equal "status of the job whose output is not empty" 78:0 "$(job_field "$job" ExitCode)"
echo "ok: all of it"
