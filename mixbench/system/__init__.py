"""The machine beneath: files, locks, signals, streams, processors.  Knows no trial."""
