"""Records into tables, statistics and comparisons.  Imports no torch."""
