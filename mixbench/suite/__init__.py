"""Suites: read and check a YAML file, and plan its trials."""
