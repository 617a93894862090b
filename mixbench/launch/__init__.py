"""Trials into jobs: on this machine, or in SLURM."""
