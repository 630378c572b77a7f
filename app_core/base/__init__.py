"""What every stage stands on: blocks, errors, workers, supervisors, child processes, settings."""
