"""Ends a job whose command, `python -m mixbench.slurm.rank`, was written by a mixbench older than `launch/slurm/`."""

import sys

sys.exit(
    "mixbench: this job was submitted by an older mixbench, whose modules have moved; what it did is kept.  "
    "Give the `mixbench run SUITE --cluster PROFILE` of its run again: that submits what is left"
)
