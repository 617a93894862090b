#!/usr/bin/env bash
# A real SLURM with several nodes on this one machine, for tests: munge, MariaDB, slurmdbd, slurmctld and N slurmd from
# Debian's packages, without systemd, without a change to the machine's own /etc.
#
#   testbed.sh start [N]          N nodes, n1 to nN (3 unless told), ready when it returns
#   eval "$(testbed.sh env)"      sinfo, sbatch, srun, sacct then speak to it
#   testbed.sh status             what runs; exit 3 when nothing does
#   testbed.sh kill-node NODE     cuts its power: its processes and connections are gone at once
#   testbed.sh freeze-node NODE   it hangs: nothing of it answers, its connections stay open
#   testbed.sh thaw-node NODE     it goes on as if nothing had been
#   testbed.sh start-node NODE    switches a killed node on; a frozen one is reset.  Let SLURM see it DOWN before, in 15 to
#                                 25 s: of a node that was away for a moment it takes SLURM a minute to miss the jobs
#   testbed.sh stop               leaves no process, no mount, no file
#
# NODE may also be `controller`, the machine of slurmctld; munge, MariaDB and slurmdbd have one of their own.
# Environment, read by `start`:
#   MIXBENCH_TESTBED              the folder of all its state, for every verb (default: $TMPDIR/mixbench-testbed)
#   MIXBENCH_TESTBED_PREEMPT      qos (default: `--qos=high` preempts `--qos=low`) or partition (`urgent`, `main`)
#   MIXBENCH_TESTBED_MEMORY       cgroup: a step over its memory is OUT_OF_MEMORY; polled: it is FAILED, some 2 s later;
#                                 default: cgroup where the machine has cgroup v1 and lets us
#   MIXBENCH_TESTBED_CONF         more lines for slurm.conf, such as MaxArraySize=11
#   MIXBENCH_TESTBED_OWNER        a process id: when that process ends, the testbed stops
# Exit codes: 0 done; 1 it failed; 2 the request or this machine is not fit for it; 3 nothing runs.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
state=$(realpath --canonicalize-missing -- "${MIXBENCH_TESTBED:-${TMPDIR:-/tmp}/mixbench-testbed}")
export SLURM_CONF=$state/etc/slurm.conf
MARK=MIXBENCH_TESTBED_MACHINE # in the environment of every process of the testbed itself, and of no job: whose it is
OURS=.mixbench-testbed        # in the state folder: it is ours to delete
PACKAGES=(slurm-wlm slurmdbd munge mariadb-server-core mariadb-client-core procps)
PROGRAMS=(slurmctld slurmd slurmdbd sacctmgr munged mariadbd mariadb-install-db unshare nsenter setsid pgrep)
READY_SECONDS=90              # on a machine that others keep busy, too
cgroup_name=mixbench-testbed-$(cksum <<<"$state" | cut -d ' ' -f 1)

say() { echo "testbed: $*" >&2; }
refuse() { say "$@"; exit 2; }

# ---- what must hold

need_root() {
    ((EUID == 0)) || refuse "must be root: the nodes are namespaces (sudo --preserve-env=MIXBENCH_TESTBED $0 …)"
}

need_packages() {
    local program
    for program in "${PROGRAMS[@]}"; do
        PATH=$PATH:/usr/sbin command -v "$program" >/dev/null && continue
        refuse "$program is not installed:
    apt-get install --no-install-recommends ${PACKAGES[*]}"
    done
}

need_good_folder() {
    ((${#state} <= 60)) || refuse "$state: a path over 60 characters is too long for sockets: set MIXBENCH_TESTBED"
    [[ $state != *[\"\'\\%,\#$'\n']* ]] || refuse "$state: SLURM cannot read this path: set MIXBENCH_TESTBED"
    [[ $state != /dev/shm/* ]] || refuse "$state: every node has its own /dev/shm: set MIXBENCH_TESTBED"
    [[ ! -e $state || -e $state/$OURS || -z $(ls -A -- "$state") ]] ||
        refuse "$state holds something else: set MIXBENCH_TESTBED to another folder"
}

lock() { # flock's options: one start or stop at a time; released when this process ends
    while :; do
        exec {lock_fd}<"$state"
        flock "$@" "$lock_fd" || refuse "another start or stop is at work in $state"
        [[ $state -ef /dev/fd/$lock_fd ]] && return # else a stop removed it while this waited
        mkdir -p -- "$state"
    done
}

# ---- machines: namespaces, each with one process that holds it

is_on() { # MACHINE; a stale file may name a stranger's process by now, so its environment is asked
    local pid
    pid=$(cat -- "$state/machines/$1/pid" 2>/dev/null) || return 1
    grep --quiet --null-data --text --line-regexp --fixed-strings --no-messages "$MARK=$state/$1" "/proc/$pid/environ"
}

kill_marked() { # [MACHINE]: what is left of the testbed, found in /proc, for when its folder is gone or half written
    grep --files-with-matches --null-data --text --fixed-strings --no-messages "$MARK=$state/${1:-}" /proc/[0-9]*/environ |
        cut --delimiter=/ --fields=3 | xargs --no-run-if-empty kill -KILL 2>/dev/null || true
}

power_on() { # MACHINE
    local folder=$state/machines/$1
    if is_on "$1"; then return; fi
    mkdir -p -- "$folder/spool"
    rm -f -- "$folder/frozen"
    (
        [[ -z ${lock_fd:-} ]] || exec {lock_fd}<&-
        while read -r cgroup; do
            mkdir -p -- "$cgroup/$1"
            echo "$BASHPID" >"$cgroup/$1/cgroup.procs"
        done <"$state/cgroups"
        cd /
        # unshare's own process stays outside, and ends after the last process of the machine
        exec env --ignore-environment PATH="$PATH:/usr/sbin" HOME=/root LC_ALL=C.UTF-8 "$MARK=$state/$1" setsid unshare \
            --uts --mount --pid --cgroup --fork --kill-child --mount-proc --propagation private \
            "$here/machine.sh" "$1" "$state" "$(cat -- "$state/memory")"
    ) </dev/null >>"$state/log/$1.out" 2>&1 &
    echo $! >"$folder/pid"
    until is_on "$1" || ! kill -0 $! 2>/dev/null; do sleep 0.01; done # it has its mark a moment later
}

init_of() { pgrep --parent "$(cat -- "$state/machines/$1/pid")"; } # MACHINE: its PID 1

power_off() { # MACHINE: without a warning; returns when all of it is gone
    local init
    while is_on "$1"; do
        if init=$(init_of "$1"); then kill -KILL "$init" 2>/dev/null || true; fi
        sleep 0.02
    done
}

hang() { # STOP|CONT NODE: every process but its PID 1
    nsenter --target "$(init_of "$2")" --pid --mount -- bash -c "kill -$1 -1"
}

need_machine() { # NAME
    need_root
    [[ -e $state/ready ]] || { say "nothing runs in $state"; exit 3; }
    [[ ${1:-} =~ ^(n[0-9]+|controller)$ && -d $state/machines/$1 ]] ||
        refuse "no node is named '${1:-}'; there are: $(cd "$state/machines" && echo n* controller)"
}

# ---- what a start writes

fill() { # TEMPLATE
    local text
    text=$(<"$here/$1")
    text=${text//@STATE@/"$state"}
    text=${text//@PREEMPT@/"$preempt"}
    text=${text//@CONTROLLER_PORT@/"$port"}
    text=${text//@ACCOUNTING_PORT@/"$((port + 1))"}
    printf '%s\n' "$text"
}

free_ports() { # the first of 64 that nobody listens on, below the range of outgoing connections
    local base port used
    used=$(awk '$4 == "0A" { sub(/.*:/, "", $2); print "0x" $2 }' /proc/net/tcp /proc/net/tcp6 2>/dev/null || true)
    while :; do
        base=$((12000 + 64 * (RANDOM % 300)))
        for port in $used; do
            ((port < base || port >= base + 64)) || continue 2
        done
        echo "$base"
        return
    done
}

# Where cgroups of ours may be made: below our own, so that limits on us hold for them; a line a controller, none: polled
find_cgroups() {
    local controller parent
    [[ ${MIXBENCH_TESTBED_MEMORY:-cgroup} == cgroup ]] || return 0
    for controller in memory freezer; do
        parent=/sys/fs/cgroup/$controller$(sed -n "s|^[0-9]*:$controller:||p" /proc/self/cgroup)
        [[ -d $parent ]] || parent=/sys/fs/cgroup/$controller
        mkdir -p -- "$parent/$cgroup_name" 2>/dev/null && [[ -e $parent/tasks ]] || return 0
        echo "$parent/$cgroup_name"
    done
}

write_state() { # N
    local k port preempt
    case ${MIXBENCH_TESTBED_PREEMPT:-qos} in
        qos) preempt=qos ;;
        partition) preempt=partition_prio ;;
        *) refuse "MIXBENCH_TESTBED_PREEMPT is qos or partition, not '$MIXBENCH_TESTBED_PREEMPT'" ;;
    esac
    port=$(free_ports)
    mkdir -p -- "$state"/{etc,log,machines,munge,controller}
    find_cgroups >"$state/cgroups"
    if (($(wc -l <"$state/cgroups") == 2)); then echo cgroup; else echo polled; fi >"$state/memory"
    if [[ $(<"$state/memory") == polled ]]; then
        [[ ${MIXBENCH_TESTBED_MEMORY:-polled} == polled ]] || refuse "MIXBENCH_TESTBED_MEMORY: cgroup v1 is not ours here"
        : >"$state/cgroups"
    fi
    head -c 1024 /dev/urandom >"$state/munge/key"
    chmod 400 "$state/munge/key"

    {
        echo "127.0.0.1 localhost services controller"
        for ((k = 1; k <= $1; k++)); do echo "127.0.1.$k n$k"; done
    } >"$state/etc/hosts"
    fill slurmdbd.conf >"$state/etc/slurmdbd.conf"
    chmod 600 "$state/etc/slurmdbd.conf"
    fill cgroup.conf >"$state/etc/cgroup.conf"
    fill gres.conf >"$state/etc/gres.conf"
    {
        fill slurm.conf
        fill "memory-$(<"$state/memory").conf"
        printf '%s\n' "${MIXBENCH_TESTBED_CONF:-}"
        for ((k = 1; k <= $1; k++)); do
            echo "NodeName=n$k NodeHostname=n$k NodeAddr=127.0.1.$k Port=$((port + 1 + k))" \
                "CPUs=4 RealMemory=6000 Gres=gpu:2 State=UNKNOWN"
        done
        echo "PartitionName=main Nodes=ALL Default=YES MaxTime=INFINITE PriorityTier=10 GraceTime=5"
        echo "PartitionName=urgent Nodes=ALL MaxTime=INFINITE PriorityTier=20 PreemptMode=OFF"
    } >"$state/etc/slurm.conf"
}

# ---- the verbs

ready_nodes() { # in a subshell: should this start be killed, a sinfo that still waits must not hold its lock
    exec {lock_fd}<&-
    sinfo --noheader --Node --partition=main --format=%t 2>/dev/null | grep --count --line-regexp idle
}

is_ready() { [[ -e $state/ready ]] && is_on controller && is_on services; }

watch_owner() { # PID
    (
        exec {lock_fd}<&-
        # shellcheck disable=SC2016  # the inner shell's own arguments
        exec env "$MARK=$state/owner" MIXBENCH_TESTBED="$state" setsid bash -c \
            'tail --pid="$1" --follow /dev/null; exec env --unset="$2" "$3" stop' watch "$1" "$MARK" "$here/testbed.sh"
    ) </dev/null >/dev/null 2>&1 &
}

start() { # [N]
    local nodes=${1:-3} machine k
    [[ $nodes =~ ^([1-9]|[1-5][0-9])$ ]] || refuse "start: 1 to 59 nodes, not '$nodes'"
    need_root
    need_packages
    need_good_folder
    mkdir -p -- "$state"
    lock --nonblock
    if is_ready; then
        [[ -z ${1:-} || $nodes == "$(<"$state/ready")" ]] || refuse "it runs with $(<"$state/ready") nodes: stop it first"
        say "it runs already"
        return
    fi
    clear_away # what is left of a start or a machine that crashed
    mkdir -p -- "$state"
    lock --nonblock
    touch -- "$state/$OURS"
    trap 'failed $?' EXIT
    write_state "$nodes"
    power_on services
    power_on controller
    for ((k = 1; k <= nodes; k++)); do power_on "n$k"; done
    SECONDS=0
    until (($(ready_nodes) == nodes)); do
        for machine in "$state"/machines/*; do
            is_on "${machine##*/}" || give_up "${machine##*/} did not come up"
        done
        ((SECONDS < READY_SECONDS)) || give_up "not ready after $READY_SECONDS s"
        sleep 0.1
    done
    [[ -z ${MIXBENCH_TESTBED_OWNER:-} ]] || watch_owner "$MIXBENCH_TESTBED_OWNER"
    echo "$nodes" >"$state/ready"
    trap - EXIT
    say "$nodes nodes are ready, memory limits: $(<"$state/memory"). Now:"
    say "eval \"\$($(printf %q "$here/testbed.sh") env)\""
}

give_up() { # WHY
    local log
    for log in services controller n1; do tail --lines=8 -- "$state/log/$log.out" | sed "s/^/$log: /" >&2; done
    say "$1"
    exit 1
}

failed() { # STATUS: a start that failed or was interrupted leaves nothing
    trap - EXIT
    clear_away
    exit "$1"
}

clear_away() {
    local machine cgroups
    kill_marked owner
    for machine in "$state"/machines/*/; do
        [[ ! -d $machine ]] || power_off "$(basename "$machine")"
    done
    kill_marked
    for _ in {1..100}; do # a cgroup is busy until the last of its processes is reaped
        mapfile -t cgroups < <(find /sys/fs/cgroup/{memory,freezer} -depth -type d \
            -regex ".*/$cgroup_name\(/.*\)?" 2>/dev/null)
        ((${#cgroups[@]} > 0)) || break
        rmdir -- "${cgroups[@]}" 2>/dev/null || sleep 0.02
    done
    rm -rf -- "$state"
}

stop() {
    need_root
    need_good_folder
    if [[ -e $state ]]; then lock --timeout 60; fi
    clear_away
}

status() {
    local machine frozen
    [[ -e $state/ready ]] || { echo "nothing runs in $state"; exit 3; }
    echo "state: $state   memory limits: $(<"$state/memory")"
    for machine in "$state"/machines/*; do
        frozen=$([[ ! -e $machine/frozen ]] || echo ", frozen")
        if is_on "${machine##*/}"; then echo "${machine##*/}: on$frozen"; else echo "${machine##*/}: off"; fi
    done
    sinfo --Node --long
    squeue
}

environment() {
    [[ -e $state/ready ]] || { say "nothing runs in $state"; exit 3; }
    printf 'export MIXBENCH_TESTBED=%q\nexport SLURM_CONF=%q\n' "$state" "$SLURM_CONF"
}

kill_node() {
    need_machine "$@"
    power_off "$1"
}

freeze_node() {
    need_machine "$@"
    is_on "$1" || refuse "$1 is off"
    touch -- "$state/machines/$1/frozen"
    hang STOP "$1"
}

thaw_node() {
    need_machine "$@"
    is_on "$1" || refuse "$1 is off"
    hang CONT "$1"
    rm -f -- "$state/machines/$1/frozen"
}

start_node() {
    need_machine "$@"
    [[ ! -e $state/machines/$1/frozen ]] || power_off "$1"
    power_on "$1"
}

usage() { sed -n '2,/^set/{/^set/!s/^# \{0,1\}//p}' "${BASH_SOURCE[0]}"; }

case ${1:-} in
    start | stop | status) "$@" ;;
    env) environment ;;
    kill-node | freeze-node | thaw-node | start-node) "${1/-/_}" "${@:2}" ;;
    -h | --help | help) usage ;;
    *) usage >&2 && exit 2 ;;
esac
