"""One training: engine, optimizer, schedule, loop, checkpoints."""
