"""What is asked for: a YAML file, read and checked, and the trials that it plans."""
