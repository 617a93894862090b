"""`python -m mixbench` is `mixbench`."""

from mixbench.cli import main

main()
