# shellcheck shell=bash
# What the job scripts share: where a job is, how its ranks start, what is kept of it, and whether
# it goes back into the queue. Sourced by *.slurm, from the root of the repository.
#
#   job_begin COMMAND "$@"    checks what the script was given, reads clusters/$CLUSTER.env and the
#                             end of the job, and says where the job runs
#   job_keep "$@"             keeps the environment with the run, and ends a job that restarts
#                             without progress
#   job_run COMMAND "$@"      starts the ranks; their status is then $job_status
#   job_end                   says how it ended and ends the script: into the queue, or for good
#
# With AUTO_RESUBMIT=1 a job goes back into the queue (scontrol requeue: same id, options and log)
# when it stopped early (status 75) or a rank was killed by a signal (status above 128), unless
# somebody cancelled it. MAX_RESTARTS starts (default 5) from one and the same checkpoint end it.

job_say() { echo "$(date --iso-8601=seconds) job ${SLURM_JOB_ID:-}: $1"; }

job_begin() {
  local command="$1" file end end_s
  shift
  if [[ $# -lt 1 || "$1" == *=* ]]; then
    echo "$SLURM_JOB_NAME: needs an input file (espalier $command)" >&2
    exit 64
  fi
  if [[ -n "${CLUSTER:-}" ]]; then
    file="jobscripts/clusters/$CLUSTER.env"
    if [[ ! -f "$file" ]]; then
      echo "no $file below $PWD; there are:" jobscripts/clusters/*.env >&2
      exit 64
    fi
    # shellcheck source=/dev/null
    source "$file"
  fi
  if [[ -z "${RANKS_PER_NODE:-}" ]]; then
    echo "needs CLUSTER in the environment (jobscripts/clusters), or RANKS_PER_NODE" >&2
    exit 64
  fi
  job_threads="${THREADS_PER_RANK:-$(( SLURM_CPUS_ON_NODE / RANKS_PER_NODE ))}"
  (( job_threads > 0 )) || job_threads=1
  export OMP_NUM_THREADS="$job_threads"

  # The program stops in time by itself when it knows the end of the job. Slurm before 23.02 does
  # not put it into the environment.
  if [[ -z "${SLURM_JOB_END_TIME:-}" ]]; then
    end="$(squeue --noheader --jobs="$SLURM_JOB_ID" --format=%e || true)"
    if end_s="$(date --date="$end" +%s 2>/dev/null)"; then export SLURM_JOB_END_TIME="$end_s"; fi
  fi
  job_say "start ${SLURM_RESTART_COUNT:-0}: $SLURM_JOB_NUM_NODES nodes ($SLURM_JOB_NODELIST) x \
$RANKS_PER_NODE ranks x $job_threads threads"
}

# output.directory as the program will have it: the last override, else what [output] of the input
# says, else the default.
job_run_directory() {  # INPUT [section.key=value ...]
  local word found=""
  for word in "${@:2}"; do
    [[ "$word" == output.directory=* ]] && found="${word#*=}"
  done
  if [[ -z "$found" ]]; then
    found="$(awk '
      /^[ \t]*\[/ { section = $0; gsub(/[][ \t]|#.*/, "", section) }
      { key = $0; sub(/=.*/, "", key); gsub(/[ \t"]/, "", key) }
      (section == "output" && key == "directory") || (section == "" && key == "output.directory") {
        value = $0; sub(/^[^=]*=[ \t]*/, "", value)
        quote = substr(value, 1, 1); value = substr(value, 2)
        print substr(value, 1, index(value, quote) - 1)
      }' "$1" | tail -n 1)"
  fi
  found="${found#[\"\']}"
  found="${found%[\"\']}"
  found="${found:-runs/default}"
  echo "${found/#\~\//$HOME/}"
}

# The step of the newest complete checkpoint; 0 where there is none.
job_newest_step() {
  local marker folder newest=0
  for marker in "$job_directory"/checkpoints/step-*/COMPLETE; do
    folder="${marker%/COMPLETE}"
    [[ ! -e "$marker" ]] || newest="${folder##*step-}"  # the names sort by step
  done
  echo "$(( 10#$newest ))"
}

# Starts of this job, with this one, from the checkpoint that is the newest one now.
job_starts_without_progress() {
  grep -c "^[^ ]* job $SLURM_JOB_ID start .* from step $(job_newest_step)\$" \
    "$job_directory/jobs/slurm.log" || true
}

# Into jobs/ of the run directory: slurm.log has a line per start and end, slurm-<id>-<restart>/
# what this job was started with. Of the environment only what shapes a job: no secret is kept.
job_keep() {
  job_directory="$(job_run_directory "$@")"
  local folder="$job_directory/jobs/slurm-$SLURM_JOB_ID-${SLURM_RESTART_COUNT:-0}"
  if ! mkdir -p "$folder"; then
    echo "output.directory = $job_directory cannot be written" >&2
    exit 74
  fi
  local kept='^(SLURM|OMPI|PMIX|PRTE|UCX|NCCL|OMP|CUDA|HDF5)_[A-Z0-9_]*=|^(CLUSTER|LOADEDMODULES)='
  env | grep -E "$kept" | grep -vE '^[A-Z0-9_]*(TOKEN|SECRET|PASSWORD|_KEY|JWT)[A-Z0-9_]*=' |
    sort >"$folder/environment" || true
  printf '%s\n' "$@" >"$folder/arguments"
  ulimit -a >"$folder/limits"
  cp "$1" "$folder/input.toml" 2>/dev/null || true
  echo "$(date --iso-8601=seconds) job $SLURM_JOB_ID start ${SLURM_RESTART_COUNT:-0} on" \
    "$SLURM_JOB_NUM_NODES nodes ($SLURM_JOB_NODELIST) from step $(job_newest_step)" \
    >>"$job_directory/jobs/slurm.log"
  # Slurm itself requeues a job whose node failed, without asking job_end.
  if [[ "$(job_starts_without_progress)" -gt "${MAX_RESTARTS:-5}" ]]; then
    job_status=70
    job_end_of_chain "${MAX_RESTARTS:-5} starts from step $(job_newest_step) without progress \
(MAX_RESTARTS)"
  fi
}

# --wait: when a rank dies, the others are ended after these seconds instead of waiting for it.
# Not --kill-on-bad-exit: it would turn status 75 of the first rank into a kill of the others.
job_run() {
  job_status=0
  srun --mpi="${SRUN_MPI:-pmix}" --nodes="$SLURM_JOB_NUM_NODES" \
    --ntasks-per-node="$RANKS_PER_NODE" --ntasks="$(( RANKS_PER_NODE * SLURM_JOB_NUM_NODES ))" \
    --cpus-per-task="$job_threads" --wait="${SRUN_WAIT:-30}" \
    ${SRUN_OPTIONS[@]+"${SRUN_OPTIONS[@]}"} "${ESPALIER:-build/espalier}" "$@" || job_status=$?
}

job_meaning() {  # STATUS
  case "$1" in
    0) echo "all is done" ;;
    64) echo "wrong command line" ;;
    65) echo "data, tokenizer or checkpoint cannot be used; the message above names the file" ;;
    70) echo "internal error; see the message above" ;;
    74) echo "a file cannot be read or written, or another job holds the run directory" ;;
    75) echo "stopped early; the same command goes on" ;;
    78) echo "the input is wrong or does not fit the job; see the message above" ;;
    79) echo "bad numbers: not finite, a spike, or ranks that differ; a person is to look at it" ;;
    *) if (( $1 > 128 )); then echo "ended by signal $(( $1 - 128 ))"; else echo "unknown"; fi ;;
  esac
}

job_end_of_chain() {  # WHY
  job_say "not resubmitted: $1"
  [[ -z "${job_directory:-}" ]] ||
    echo "$(date --iso-8601=seconds) job $SLURM_JOB_ID is not resubmitted: $1" \
      >>"$job_directory/jobs/slurm.log"
  exit "$job_status"
}

job_end() {
  job_say "ends with status $job_status: $(job_meaning "$job_status")"
  [[ -z "${job_directory:-}" ]] ||
    echo "$(date --iso-8601=seconds) job $SLURM_JOB_ID end ${SLURM_RESTART_COUNT:-0}" \
      "with status $job_status at step $(job_newest_step)" >>"$job_directory/jobs/slurm.log"
  [[ $job_status -ne 0 && "${AUTO_RESUBMIT:-0}" == 1 ]] || exit "$job_status"
  if [[ $job_status -ne 75 && $job_status -le 128 ]]; then
    job_end_of_chain "status $job_status: $(job_meaning "$job_status")"
  fi
  # A job that somebody cancelled stops with 75 or a signal, too; it is not to come back.
  local state
  state="$(squeue --noheader --jobs="$SLURM_JOB_ID" --format=%T || true)"
  [[ "$state" == RUNNING ]] || job_end_of_chain "its state is ${state:-unknown} (cancelled?)"
  if [[ -n "${job_directory:-}" &&
        "$(job_starts_without_progress)" -ge "${MAX_RESTARTS:-5}" ]]; then
    job_end_of_chain "${MAX_RESTARTS:-5} starts from step $(job_newest_step) without progress \
(MAX_RESTARTS); the last status was $job_status"
  fi
  job_say "going back into the queue"
  scontrol requeue "$SLURM_JOB_ID" && sleep 60  # Slurm ends this script here
  job_end_of_chain "scontrol requeue failed; submit it again by hand"
}
