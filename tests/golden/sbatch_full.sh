#!/bin/bash

# Parameters
#SBATCH --account='vision lab'
#SBATCH --array=0-2%3
#SBATCH --constraint='a100&nvlink'
#SBATCH --cpus-per-task=12
#SBATCH --exclusive
#SBATCH --gpus-per-node=8
#SBATCH --job-name=mixbench-x-1234abcd
#SBATCH --mail-type=END,FAIL
#SBATCH --mem=400G
#SBATCH --nice=100
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=8
#SBATCH --open-mode=append
#SBATCH --output=%A_%a_batch.log
#SBATCH --partition=gpu
#SBATCH --qos=long
#SBATCH --requeue
#SBATCH --signal=USR2@180
#SBATCH --time=2190

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
    srun --overlap --nodes=1 --ntasks=1 --container-image=docker://nvcr.io/nvidia/pytorch:26.01-py3 '--container-mounts=/data:/data,/my home:/home' '/opt/my env/bin/python' -u -P -m mixbench.launch.slurm.after "$status"
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
export NCCL_DEBUG=WARN
export GREETING='it'"'"'s $HOME; "so" `date`'
module load cuda/12.4
source ~/venv/bin/activate
cd "$MIXBENCH_FOLDER"
for ((step = 0; step < ${SLURM_RESTART_COUNT:-0} % 8; step++)); do
    srun --overlap --nodes=1 --ntasks=1 true > /dev/null 2>&1 || true
done

# command
export SUBMITIT_EXECUTOR=slurm
srun --unbuffered --output /runs/x/jobs/0001/%A_%a_%t_log.out --kill-on-bad-exit=1 --cpus-per-task=12 --output=%A_%a_%t.log --open-mode=append --container-image=docker://nvcr.io/nvidia/pytorch:26.01-py3 '--container-mounts=/data:/data,/my home:/home' '/opt/my env/bin/python' -u -P -m mixbench.launch.slurm.rank
