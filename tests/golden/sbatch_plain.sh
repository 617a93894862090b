#!/bin/bash

# Parameters
#SBATCH --array=0-2%3
#SBATCH --cpus-per-task=1
#SBATCH --job-name=mixbench-x-1234abcd
#SBATCH --nodes=1
#SBATCH --ntasks-per-node=1
#SBATCH --open-mode=append
#SBATCH --output=%A_%a_batch.log
#SBATCH --requeue
#SBATCH --signal=USR2@120
#SBATCH --time=30

# setup
mixbench_after() {
    status=$?
    trap - EXIT
    set +eu
    for attempt in {1..60}; do
        MIXBENCH_JOB=$(scontrol --oneliner show job "$SLURM_JOB_ID") && break
        sleep 2
    done
    MIXBENCH_TIME_LEFT=$(squeue --noheader --jobs="$SLURM_JOB_ID" --format=%L)
    export MIXBENCH_JOB MIXBENCH_TIME_LEFT
    /usr/bin/python3 -u -P -m mixbench.launch.slurm.after "$status"
    code=$?
    if [ $code = 75 ]; then
        for attempt in {1..30}; do
            scontrol requeue "$SLURM_JOB_ID" && break
            sleep 10
        done
    fi
    exit $code
}
trap : TERM
trap mixbench_after EXIT
export MIXBENCH_FOLDER="$PWD"
cd "$MIXBENCH_FOLDER"
for ((step = 0; step < ${SLURM_RESTART_COUNT:-0} % 8; step++)); do
    srun --overlap --nodes=1 --ntasks=1 true > /dev/null 2>&1 || true
done

# command
export SUBMITIT_EXECUTOR=slurm
srun --unbuffered --output /runs/x/jobs/0001/%A_%a_%t_log.out --kill-on-bad-exit=1 --cpus-per-task=1 --output=%A_%a_%t.log --open-mode=append /usr/bin/python3 -u -P -m mixbench.launch.slurm.rank
