"""Random choices for each image, and the kernels that carry them out."""
