"""Files, locks, signals, streams, processors, words: nothing in here knows about trials."""
