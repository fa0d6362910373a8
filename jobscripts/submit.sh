#!/usr/bin/env bash
# Submits a job to Slurm with the options of a cluster: a training, or what JOB names.
#
# Usage   jobscripts/submit.sh CLUSTER [SBATCH OPTION ...] INPUT.toml [section.key=value ...]
#         jobscripts/submit.sh dgx-b200 --nodes=4 --time=24:00:00 inputs/runs/quickstart.toml
#         AUTO_RESUBMIT=1 jobscripts/submit.sh ...     goes on in job after job until it is done
#         JOB=eval jobscripts/submit.sh ...            jobscripts/eval.slurm; so JOB=scaling
# CLUSTER names jobscripts/clusters/CLUSTER.env. Options before the input are sbatch's, written with
# `=`, and win over the cluster's; everything from the input on is the program's.
# Prints what sbatch prints. What the job does is told in jobscripts/$JOB.slurm.
set -euo pipefail
cd "$(dirname "$0")/.."

usage() {
  sed -n '4,7s/^# *//p' "$0" >&2
  echo "Clusters: $(cd jobscripts/clusters && ls | sed 's/\.env$//' | tr '\n' ' ')" >&2
  exit 64
}
[[ $# -ge 2 ]] || usage
script="jobscripts/${JOB:-train}.slurm"
if [[ ! -f "$script" ]]; then
  echo "submit.sh: JOB=$JOB: there is no $script" >&2
  exit 64
fi
export CLUSTER="$1"
shift
[[ -f "jobscripts/clusters/$CLUSTER.env" ]] || usage
# shellcheck source=/dev/null
source "jobscripts/clusters/$CLUSTER.env"

options=()
while [[ $# -gt 0 && "$1" == -* ]]; do
  options+=("$1")
  shift
done
[[ $# -ge 1 ]] || usage
if [[ ! -f "$1" && ! ( "${JOB:-train}" == eval && -d "$1" ) ]]; then
  echo "submit.sh: no input file $1 (sbatch options are written with =, as in --nodes=2)" >&2
  exit 64
fi
# Found now rather than after hours in the queue.
if [[ ! -x "${ESPALIER:-build/espalier}" ]]; then
  echo "submit.sh: ${ESPALIER:-build/espalier} is missing; build first" >&2
  exit 64
fi
exec sbatch ${SBATCH_OPTIONS[@]+"${SBATCH_OPTIONS[@]}"} ${options[@]+"${options[@]}"} \
  "$script" "$@"
