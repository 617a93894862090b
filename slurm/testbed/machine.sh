#!/usr/bin/env bash
# PID 1 of one machine of the testbed, in its own host name, mounts, processes and cgroups; the network is the host's.
# testbed.sh runs it; when it ends, by whatever means, every process of the machine ends with it.
#   machine.sh NAME STATE cgroup|polled
set -euo pipefail
name=$1 state=$2 memory=$3
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
export SLURM_CONF=$state/etc/slurm.conf HOSTNAME=$name
export MYSQL_UNIX_PORT=/dev/shm/mysql.sock # read by slurmdbd

wait_for() { # SECONDS COMMAND...
    local end=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        ((SECONDS < end)) || { echo "gave up waiting for: $*" && exit 1; }
        sleep 0.05
    done
}

mount_own() { # what machines do not share
    mount --bind "$state/etc/hosts" /etc/hosts # the names of the nodes are known in here alone
    mount -t tmpfs -o mode=1777,size=2g tmpfs /dev/shm # also for paths that may not hold a space, as the state's may
    if [[ $memory == cgroup ]]; then
        mount -t tmpfs tmpfs /sys/fs/cgroup
        for controller in memory freezer; do
            mkdir "/sys/fs/cgroup/$controller"
            mount -t cgroup -o "$controller" cgroup "/sys/fs/cgroup/$controller"
        done
    fi
}

services() { # munge for everyone, and the accounting
    # in memory: creating the database takes 0.5 s there, 3 s and more on a disk
    local mariadb=(--no-defaults --user=root --datadir=/dev/shm/mysql --skip-name-resolve --innodb-log-file-size=16M
        --innodb-buffer-pool-size=64M --innodb-lock-wait-timeout=900 --innodb-flush-log-at-trx-commit=0)
    munged --foreground --force --key-file="$state/munge/key" --socket="$state/munge/socket" \
        --pid-file="$state/munge/pid" --log-file="$state/log/munged.log" --seed-file="$state/munge/seed" &
    mkdir --mode=700 /dev/shm/mysql
    mariadb-install-db "${mariadb[@]}" --skip-test-db --auth-root-authentication-method=normal
    mariadbd "${mariadb[@]}" --socket="$MYSQL_UNIX_PORT" --skip-networking --performance-schema=off --max-connections=50 \
        --pid-file="$state/machines/services/mariadbd.pid" &
    wait_for 60 mariadb --no-defaults -e "select 1"
    wait_for 30 munge --socket="$state/munge/socket" --no-input
    slurmdbd -D &
    wait_for 60 sacctmgr --noheader show cluster
    sacctmgr --immediate <"$here/accounts.txt"
    touch "$state/accounting"
    wait -n # one of the three ended: so does the machine
}

controller() {
    wait_for 90 test -e "$state/accounting"
    slurmctld -D &
    wait $!
}

node() {
    mknod /dev/shm/.gpu0 c 1 3 # SLURM wants device nodes: these are like /dev/null
    mknod /dev/shm/.gpu1 c 1 3
    slurmd -D -b -N "$name" & # -b: it was just switched on, and SLURM is told so
    wait $!
}

hostname "$name"
mount_own
case $name in
    services | controller) "$name" ;;
    *) node ;;
esac
