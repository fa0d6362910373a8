# A real Slurm of two nodes on this machine, for tests. Source it; needs root and Debian's packages
# slurmctld, slurmd, slurm-client and munge.
#
#   local_slurm_start DIR   starts munged, slurmctld and two slurmd whose files all lie in DIR (it
#                           must exist), exports SLURM_CONF, and returns when both nodes are idle
#   local_slurm_until COMMAND ...   tries it until it succeeds, for half an hour at most: a guard
#                           against hangs, not what a busy machine may take
#   local_slurm_stop        stops them by process id; to be called from a trap
#   local_slurm_missing     prints what is missing to run it; nothing when all is there
#
# The two nodes are two slurmd on free ports of this host. They share its processors, so nothing
# timed belongs here. OpenMPI takes the two for one host and would use shared memory between
# processes that Slurm keeps apart: OMPI_MCA_btl=self,tcp and OMPI_MCA_osc=^sm are exported.

local_slurm_pids=()

local_slurm_missing() {
  [[ $(id -u) -eq 0 ]] || echo "root"
  local program
  for program in munged slurmctld slurmd sbatch srun; do
    PATH="$PATH:/usr/sbin" command -v "$program" >/dev/null || echo "$program"
  done
}

# Free TCP ports of this host: the kernel picks them.
local_slurm_ports() {
  python3 - "$1" <<'PYTHON'
import socket, sys
sockets = [socket.socket() for _ in range(int(sys.argv[1]))]
for s in sockets:
    s.bind(("", 0))
print(*(s.getsockname()[1] for s in sockets))
PYTHON
}

local_slurm_until() {
  local end=$(( SECONDS + 1800 ))
  until "$@"; do
    [[ $SECONDS -lt $end ]] || return 1
    sleep 0.1
  done
}

local_slurm_nodes_are_idle() { [[ "$(sinfo -h -t idle -o %D 2>/dev/null)" == 2 ]]; }
local_slurm_queue_is_empty() { [[ -z "$(squeue -h 2>/dev/null)" ]]; }

local_slurm_start() {
  local dir="$1" cpus memory ports
  PATH="$PATH:/usr/sbin:/sbin"
  cpus=$(nproc)
  memory=$(awk '/MemTotal/ {print int($2 / 1024 * 0.8)}' /proc/meminfo)
  read -r -a ports <<<"$(local_slurm_ports 3)"

  mkdir -p "$dir"/{munge,state,spool-n1,spool-n2,tmp-n1,tmp-n2}
  chmod 700 "$dir/munge"
  head -c 1024 /dev/urandom >"$dir/munge/key"
  chmod 600 "$dir/munge/key"
  munged --force --foreground --socket "$dir/munge/socket" --key-file "$dir/munge/key" \
    --pid-file "$dir/munge/pid" --log-file "$dir/munge/log" --seed-file "$dir/munge/seed" \
    >"$dir/munge/out" 2>&1 &
  local_slurm_pids+=($!)

  cat >"$dir/slurm.conf" <<CONF
ClusterName=test
SlurmctldHost=localhost
SlurmctldPort=${ports[0]}
AuthType=auth/munge
CredType=cred/munge
# cred_expire: a requeued job may start again after this many seconds (default 120).
AuthInfo=socket=$dir/munge/socket,cred_expire=5
SlurmUser=root
SlurmdUser=root
StateSaveLocation=$dir/state
SlurmdSpoolDir=$dir/spool-%n
SlurmctldPidFile=$dir/slurmctld.pid
SlurmdPidFile=$dir/slurmd-%n.pid
SlurmctldLogFile=$dir/slurmctld.log
SlurmdLogFile=$dir/slurmd-%n.log
# One folder per node, or the PMIx servers of the two nodes clash.
TmpFS=$dir/tmp-%n
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
SwitchType=switch/none
MpiDefault=pmix
ReturnToService=2
SchedulerParameters=sched_interval=1,batch_sched_delay=0
KillWait=10
MinJobAge=3600
# A busy machine answers late: the defaults are 10, 2 and 10 s.
MessageTimeout=100
TCPTimeout=100
BatchStartTimeout=300
JobCompType=jobcomp/none
AccountingStorageType=accounting_storage/none
NodeName=n[1-2] NodeHostname=localhost NodeAddr=127.0.0.1 Port=[${ports[1]},${ports[2]}] CPUs=$cpus RealMemory=$memory State=UNKNOWN
PartitionName=all Nodes=n[1-2] Default=YES MaxTime=INFINITE State=UP
CONF
  export SLURM_CONF="$dir/slurm.conf"
  export OMPI_MCA_btl=self,tcp OMPI_MCA_osc=^sm
  # Variables of a Slurm job that this test itself may run in would confuse the one started here.
  local name
  for name in $(compgen -e | grep -E '^(SLURM|SBATCH|SRUN|PMIX)_' | grep -vx SLURM_CONF || true); do
    unset "$name"
  done

  local_slurm_until test -S "$dir/munge/socket" || true
  slurmctld -D -f "$SLURM_CONF" >"$dir/slurmctld.out" 2>&1 &
  local_slurm_pids+=($!)
  local node
  for node in n1 n2; do
    slurmd -D -N "$node" -f "$SLURM_CONF" >"$dir/slurmd-$node.out" 2>&1 &
    local_slurm_pids+=($!)
  done
  local_slurm_until local_slurm_nodes_are_idle && return 0
  echo "local_slurm_start: the two nodes do not become idle" >&2
  sinfo >&2 || true
  tail -n 20 "$dir"/*.log "$dir"/*.out >&2 || true
  return 1
}

local_slurm_stop() {
  local pid try
  [[ ${#local_slurm_pids[@]} -gt 0 ]] || return 0
  # Jobs first: their step daemons are not children of this shell.
  scancel --user="$(id -un)" 2>/dev/null || true
  for try in $(seq 100); do
    local_slurm_queue_is_empty && break
    sleep 0.1
  done
  # In reverse order, so that munged outlives those who ask it.
  for ((pid = ${#local_slurm_pids[@]} - 1; pid >= 0; --pid)); do
    kill "${local_slurm_pids[pid]}" 2>/dev/null || true
  done
  for ((pid = ${#local_slurm_pids[@]} - 1; pid >= 0; --pid)); do
    for try in $(seq 100); do
      kill -0 "${local_slurm_pids[pid]}" 2>/dev/null || break
      sleep 0.1
    done
    kill -9 "${local_slurm_pids[pid]}" 2>/dev/null || true
    wait "${local_slurm_pids[pid]}" 2>/dev/null || true
  done
  local_slurm_pids=()
}
