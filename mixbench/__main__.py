"""`python -m mixbench` is `mixbench`."""

from mixbench.cli.main import main

main()
