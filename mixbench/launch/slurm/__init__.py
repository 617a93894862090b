"""Trials as jobs of a SLURM cluster: its profile, what is submitted, what runs on the nodes, what the queue says.

cluster_profile → batch_script → submit → rank (on each node) → after, follow_up (when the ranks have ended) →
attach, queue_state, cancel, parallelism, doctor
"""
