"""Datasets: the table of what there is, where it lies, and how a batch is made from it on the device."""
