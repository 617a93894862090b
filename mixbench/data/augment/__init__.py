"""Augmentation: the random draws of each image, and the kernels that apply them to a batch."""
